package esp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/culvert-vpn/culvert/suite"
)

// vector returns a file of the published test vectors, which lie in a folder "shared" beside the repository.
func vector(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the package")
		}
		dir = filepath.Dir(dir)
	}
	data, err := os.ReadFile(filepath.Join(dir, "..", "shared", "vectors", name))
	if os.IsNotExist(err) {
		t.Skipf("the test vectors are not here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// opensTo opens pkt on an SA that expects its sequence number, and wants the plaintext and the verdict on it.
func opensTo(t *testing.T, name string, c suite.Cipher, seq uint64, esn bool, pkt, plain []byte, want error) {
	t.Helper()
	in := NewInbound(InboundConfig{SPI: binary.BigEndian.Uint32(pkt), Cipher: c, ESN: esn})
	in.window.top = seq - 1
	pkt = bytes.Clone(pkt)
	opened, err := in.Open(pkt)
	if err != want || !opened.Newest || in.window.top != seq {
		t.Errorf("%s: %v, newest %v, top %#x; want %v", name, err, opened.Newest, in.window.top, want)
	}
	if got := pkt[headerLen+c.IVLen():][:len(plain)]; !bytes.Equal(got, plain) {
		t.Errorf("%s: plaintext\n got %x\nwant %x", name, got, plain)
	}
	if err == nil && !bytes.HasPrefix(plain, opened.Inner) {
		t.Errorf("%s: inner packet %x", name, opened.Inner)
	}
}

// draft-mcgrew-gcm-test-01: 14 packets, of which some have extended sequence numbers. Several hold no IP packet, or name
// one that they do not hold; those authenticate and are refused for their content.
//
// Cases: BUG-19.
func TestVectorsGCM(t *testing.T) {
	var file struct {
		Vectors []struct {
			N                            int
			Key, Nonce, PT, AAD, CT, Tag string
		}
	}
	if err := json.Unmarshal(vector(t, "draft-mcgrew-gcm-esp/vectors.json"), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) == 0 {
		t.Fatal("no vectors in the file")
	}
	for _, v := range file.Vectors {
		key, nonce, aad := unhex(t, v.Key), unhex(t, v.Nonce), unhex(t, v.AAD)
		salted := append(bytes.Clone(key), nonce[:4]...)
		c, err := suite.NewCipher(encrT(suite.ENCR_AES_GCM_16, uint16(len(key)*8)), suite.Transform{}, salted, nil)
		if err != nil {
			t.Fatal(err)
		}
		esn := len(aad) == 12
		seq := uint64(binary.BigEndian.Uint32(aad[4:]))
		if esn {
			seq = binary.BigEndian.Uint64(aad[4:])
		}
		pkt := binary.BigEndian.AppendUint32(bytes.Clone(aad[:4]), uint32(seq))
		pkt = append(pkt, nonce[4:]...)
		pkt = append(pkt, unhex(t, v.CT)...)
		pkt = append(pkt, unhex(t, v.Tag)...)
		plain := unhex(t, v.PT)
		want := error(ErrNextHeader)
		if plain[len(plain)-1] == nextIPv4 {
			want = nil
		}
		opensTo(t, "case "+string(rune('A'+v.N-1)), c, seq, esn, pkt, plain, want)
	}
}

// RFC 7634 appendix A.
func TestVectorsChaCha20(t *testing.T) {
	var file struct {
		Vectors []struct {
			Name, Key, Salt, PT string
			Packet              string `json:"esp_packet"`
		}
	}
	if err := json.Unmarshal(vector(t, "rfc7634/vectors.json"), &file); err != nil {
		t.Fatal(err)
	}
	v := file.Vectors[0]
	c, err := suite.NewCipher(encrT(suite.ENCR_CHACHA20_POLY1305, 0), suite.Transform{}, unhex(t, v.Key+v.Salt), nil)
	if err != nil {
		t.Fatal(err)
	}
	opensTo(t, v.Name, c, 5, false, unhex(t, v.Packet), unhex(t, v.PT), nil)
}

// A capture of another implementation's packets: AES-256-CBC, 16 bytes of IV, and a 12-byte ICV whose key is
// not published, so that only what is inside can be checked.
func TestVectorsCapturedCBC(t *testing.T) {
	capture := vector(t, "tcpdump/08-sunrise-sunset-aes.pcap")
	key := unhex(t, "aaaabbbbccccdddd4043434545464649494a4a4c4c4f4f515152525454575758")
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	packets := 0
	for rest := capture[24:]; len(rest) >= 16; packets++ { // file header; record headers
		n := binary.LittleEndian.Uint32(rest[8:])
		frame := rest[16 : 16+n]
		rest = rest[16+n:]
		esp := frame[14+20:] // Ethernet, IPv4
		body := esp[headerLen+aes.BlockSize : len(esp)-12]
		cipher.NewCBCDecrypter(block, esp[headerLen:headerLen+aes.BlockSize]).CryptBlocks(body, body)
		inner, _, drop := unwrapTunnel(body)
		if drop != 0 || len(inner) != 84 || inner[9] != 1 || sum16(inner[:20]) != 0xffff {
			t.Errorf("packet %d: %v, %x", packets, drop, inner)
		}
	}
	if packets != 8 {
		t.Errorf("%d packets in the capture", packets)
	}
}

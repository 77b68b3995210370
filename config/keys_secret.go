package config

// rootSubs are the sections at the top of a file. Others are allowed when a reference names them.
var rootSubs = []sub{
	{name: "connections"},
	{name: "secrets"},
	{name: "charon"},
	{name: "culvert"},
	{name: "pools"},
	{name: "authorities", ignored: noCerts},
}

// secretsSubs are the sections of secrets.
var secretsSubs = []sub{
	{name: "ike*"},
	{name: "eap*", ignored: noEAP},
	{name: "xauth*", ignored: noEAP},
	{name: "ntlm*", ignored: noEAP},
	{name: "ppk*", ignored: "post-quantum pre-shared keys (RFC 8784) are not implemented"},
	{name: "private*", ignored: noCerts},
	{name: "rsa*", ignored: noCerts},
	{name: "ecdsa*", ignored: noCerts},
	{name: "pkcs8*", ignored: noCerts},
	{name: "pkcs12*", ignored: noCerts},
	{name: "token*", ignored: noCerts},
}

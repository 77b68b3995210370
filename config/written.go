package config

// Written returns the section of a connection as it is written, with what it inherits and what other files add to it. It is the caller's.
// ok is false if there is no such connection.
func (c *Config) Written(connection string) (s Section, ok bool) {
	if c.connections == nil {
		return s, false
	}
	found := c.connections.section(connection)
	if found == nil {
		return s, false
	}
	return found.export(), true
}

// export is a copy for others.
func (s *section) export() Section {
	out := Section{Name: s.name}
	for _, t := range s.settings {
		out.Settings = append(out.Settings, Setting{t.name, t.value})
	}
	for _, sub := range s.sections {
		out.Sections = append(out.Sections, sub.export())
	}
	return out
}

// Set gives a key a value, in the place where it stands.
func (s *Section) Set(name, value string) {
	for i := range s.Settings {
		if s.Settings[i].Name == name {
			s.Settings[i].Value = value
			return
		}
	}
	s.Settings = append(s.Settings, Setting{name, value})
}

// Value is that of a key, or "".
func (s *Section) Value(name string) string {
	for _, t := range s.Settings {
		if t.Name == name {
			return t.Value
		}
	}
	return ""
}

// Inner is the section of a name inside of this one, until another one is added. One that is not there is added.
func (s *Section) Inner(name string) *Section {
	for i := range s.Sections {
		if s.Sections[i].Name == name {
			return &s.Sections[i]
		}
	}
	s.Sections = append(s.Sections, Section{Name: name})
	return &s.Sections[len(s.Sections)-1]
}

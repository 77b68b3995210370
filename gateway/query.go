package gateway

// queryCommands tell what there is.
func queryCommands() map[string]handler { return map[string]handler{} }

// controlCommands bring SAs up and down.
func controlCommands() map[string]handler { return map[string]handler{} }

// counterCommands tell how much there was.
func counterCommands() map[string]handler { return map[string]handler{} }

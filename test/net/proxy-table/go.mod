module proxy-table

go 1.26

// As net/http of Go 1.26 has it.
require golang.org/x/net v0.47.0

require golang.org/x/text v0.31.0 // indirect

// Package docs holds the documents that the program itself prints.
package docs

import _ "embed"

// RecordSchema is the JSON Schema of a record. `make docs` derives it from the Go types.
//
//go:embed record.schema.json
var RecordSchema []byte

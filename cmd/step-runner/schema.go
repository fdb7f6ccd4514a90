package main

import "github.com/step-runner/step-runner/docs"

type schemaCmd struct{}

// Help is the long help.
func (schemaCmd) Help() string {
	return "Prints the JSON Schema of the record that every step leaves in <workspace>/runs/<id>/records/."
}

func (*schemaCmd) run(p *process) error {
	_, err := p.stdout.Write(docs.RecordSchema)
	return err
}

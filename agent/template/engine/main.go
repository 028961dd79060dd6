//go:build wasip1

// Command engine is the part of the controller that makes a workflow of a template, compiled to
// WebAssembly for the agent's file transport: Go's text/template, sprig and yaml.v3, with the
// functions and the data that the controller of tinkerbell/tinkerbell gives them.
//
// The agent calls it in three steps (see ../engine.ts): buffer(n) returns the address of n bytes
// for the request, render() answers it and returns the length of the response, and response()
// returns the response's address. Request and response are JSON.
package main

import (
	"encoding/json"
	"unsafe"

	"nibs/agent/template/engine/workflow"
)

// Both stay reachable until the next call, so that the garbage collector leaves them where they
// are.
var requestBytes, responseBytes []byte

//go:wasmexport buffer
func buffer(size uint32) unsafe.Pointer {
	requestBytes = make([]byte, size+1)
	return unsafe.Pointer(&requestBytes[0])
}

//go:wasmexport render
func render() uint32 {
	responseBytes = answer(requestBytes[:len(requestBytes)-1])
	requestBytes = nil
	return uint32(len(responseBytes))
}

//go:wasmexport response
func response() unsafe.Pointer {
	return unsafe.Pointer(&responseBytes[0])
}

func answer(request []byte) []byte {
	var parsed workflow.Request
	if err := json.Unmarshal(request, &parsed); err != nil {
		panic(err)
	}
	response, err := json.Marshal(workflow.Render(parsed))
	if err != nil {
		panic(err)
	}
	return response
}

func main() {}

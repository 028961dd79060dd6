// Package workflow renders templates and reads the result as the package of that name in the
// controller does (tinkerbell/tinkerbell, tink/controller/internal/workflow). It has the same name
// because templates can print the names of types.
package workflow

import (
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"
)

// templateName is the controller's; a template can call itself by it.
const templateName = "workflow-template"

// maxRenderBytes is the size of the largest text that the controller renders.
const maxRenderBytes = 256 * 1024

// Request is a template and what it is to be filled in with.
type Request struct {
	Template string `json:"template"`
	// Variables are the values of the workflow's hardwareMap.
	Variables map[string]string `json:"variables"`
	// Hardware is the content of a file; see readHardware. Empty: the workflow names no hardware.
	Hardware string `json:"hardware"`
}

// Response is a text and the YAML document in it, or the reason why there is none.
type Response struct {
	Text     string    `json:"text"`
	Parts    []Part    `json:"parts"`
	Document *Document `json:"document"`
	// HardwareError says why the hardware file cannot be used.
	HardwareError string `json:"hardwareError,omitempty"`
	// TemplateError has its place in the template.
	TemplateError *Problem `json:"templateError,omitempty"`
}

// Part is a run of the text that has one origin in the template. A literal part is there character
// by character. Offsets count UTF-16 code units.
type Part struct {
	Start   int  `json:"start"`
	Origin  int  `json:"origin"`
	Literal bool `json:"literal"`
}

// Problem is a message about one place. Offset counts UTF-16 code units.
type Problem struct {
	Offset  int    `json:"offset"`
	Message string `json:"message"`
}

// Render fills in a template and reads the text as YAML.
func Render(request Request) Response {
	data, err := dataOf(request)
	if err != nil {
		return Response{HardwareError: err.Error()}
	}
	source := newText(request.Template)
	parsed, problem := parseTemplate(source)
	if problem != nil {
		return Response{TemplateError: problem}
	}
	output, problem := execute(parsed, source, data)
	if problem != nil {
		return Response{TemplateError: problem}
	}
	rendered := output.content.String()
	return Response{Text: rendered, Parts: output.parts, Document: readDocument(rendered)}
}

func parseTemplate(source text) (*template.Template, *Problem) {
	parsed, err := newTemplate(source.content)
	if err != nil {
		return nil, locateParseError(source, err)
	}
	return parsed, nil
}

func newTemplate(content string) (*template.Template, error) {
	return template.New(templateName).Option("missingkey=error").Funcs(functions()).Parse(content)
}

func execute(parsed *template.Template, source text, data any) (*output, *Problem) {
	result := &output{source: source, nodes: map[*byte]node{}, parts: []Part{}}
	for _, defined := range parsed.Templates() {
		if defined.Tree != nil {
			result.mark(defined.Root)
		}
	}
	if err := parsed.Execute(result, data); err != nil {
		return nil, locateExecutionError(source, result, err)
	}
	return result, nil
}

// output is what a template is written to. It knows where in the template each piece comes from:
// text/template hands over the very bytes of a text node, and in front of each action stands a text
// node without bytes that mark has put there.
type output struct {
	source  text
	nodes   map[*byte]node
	content strings.Builder
	parts   []Part
	units   int
	// origin is the byte offset of the action that is being executed.
	origin int
}

// node is a text node, or the mark in front of an action. Its offset counts bytes of the template.
type node struct {
	offset int
	action bool
}

// Write takes a piece from text/template, which hands over each text node and each value at once.
func (o *output) Write(piece []byte) (int, error) {
	from, known := node{}, false
	if cap(piece) > 0 {
		from, known = o.nodes[&piece[:1][0]]
	}
	if known && from.action {
		o.origin = from.offset
		return len(piece), nil
	}
	if o.content.Len()+len(piece) > maxRenderBytes {
		if known {
			o.origin = from.offset
		}
		return 0, fmt.Errorf("rendered template exceeds %d bytes", maxRenderBytes)
	}
	if len(piece) == 0 {
		return 0, nil
	}
	origin := o.origin
	if known {
		origin = from.offset
	}
	o.parts = append(o.parts, Part{Start: o.units, Origin: o.source.units(origin), Literal: known})
	o.units += utf16Length(string(piece))
	o.content.Write(piece)
	return len(piece), nil
}

// mark puts a text node without bytes in front of each action of a list, and of the lists inside
// it.
func (o *output) mark(list *parse.ListNode) {
	if list == nil {
		return
	}
	marked := make([]parse.Node, 0, 2*len(list.Nodes))
	for _, child := range list.Nodes {
		switch child := child.(type) {
		case *parse.TextNode:
			o.nodes[&child.Text[0]] = node{offset: int(child.Pos)}
		case *parse.ActionNode:
			// One byte of room gives the mark an address of its own.
			mark := make([]byte, 0, 1)
			o.nodes[&mark[:1][0]] = node{offset: o.source.braces(int(child.Pos)), action: true}
			marked = append(marked, &parse.TextNode{NodeType: parse.NodeText, Pos: child.Pos, Text: mark})
		case *parse.IfNode:
			o.mark(child.List)
			o.mark(child.ElseList)
		case *parse.WithNode:
			o.mark(child.List)
			o.mark(child.ElseList)
		case *parse.RangeNode:
			o.mark(child.List)
			o.mark(child.ElseList)
		}
		marked = append(marked, child)
	}
	list.Nodes = marked
}

// braces returns the byte offset of the "{{" in front of an offset inside an action.
func (t text) braces(offset int) int {
	return max(strings.LastIndex(t.content[:offset], "{{"), 0)
}

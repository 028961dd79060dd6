package workflow

import (
	"errors"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"text/template"
)

// locateParseError finds the place of an error of Parse, which names a line only.
func locateParseError(source text, err error) *Problem {
	line, _, message := splitError(err)
	if message == "unexpected EOF" {
		return &Problem{source.units(len(strings.TrimRight(source.content, " \t\r\n"))), message}
	}
	content, lineStart := source.line(line)
	lineEnd := lineStart + len(content)
	from := lineStart
	if action := actionWith(source.content, err); action < lineEnd {
		from = max(from, action)
	}
	// The message quotes what is wrong.
	offset := from
	for _, quoted := range quotations.FindAllString(message, -1) {
		if at := strings.Index(source.content[from:lineEnd], unquoted(quoted)); at >= 0 {
			offset = from + at
			break
		}
	}
	return &Problem{source.units(offset), message}
}

// quotations are a Go string or character literal, or something in angle brackets, in a message of
// text/template.
var quotations = regexp.MustCompile(`"(?:\\.|[^"\\])+"|'.'|<[^>]+>`)

func unquoted(quoted string) string {
	if value, err := strconv.Unquote(quoted); err == nil {
		return value
	}
	return quoted[1 : len(quoted)-1]
}

// actionWith returns the byte offset of the action that has an error. Parse reads from left to
// right and stops at its first error: the template up to a "{{" has the same error if that comes
// after it, and another one or none if it comes before.
func actionWith(content string, wanted error) int {
	starts := []int{}
	for from := 0; ; {
		next := strings.Index(content[from:], "{{")
		if next < 0 {
			break
		}
		starts = append(starts, from+next)
		from += next + len("{{")
	}
	after := sort.Search(len(starts), func(index int) bool {
		_, err := newTemplate(content[:starts[index]])
		return err != nil && err.Error() == wanted.Error()
	})
	if after == 0 {
		return 0
	}
	return starts[after-1]
}

// locateExecutionError finds the place of an error of Execute.
func locateExecutionError(source text, output *output, err error) *Problem {
	if _, isExecError := errors.AsType[template.ExecError](err); !isExecError {
		// The writer's own.
		return &Problem{source.units(output.origin), err.Error()}
	}
	line, column, message := splitError(err)
	return &Problem{source.units(source.lineStart(line) + column), message}
}

// prefix is what text/template puts in front of a message. Lines count from 1, columns bytes from
// 0.
var prefix = regexp.MustCompile(`^template: [^:]*:(?:(\d+):)?(?:(\d+):)? `)

func splitError(err error) (line, column int, message string) {
	message = err.Error()
	match := prefix.FindStringSubmatch(message)
	if match == nil {
		return 1, 0, message
	}
	line, _ = strconv.Atoi(match[1])
	column, _ = strconv.Atoi(match[2])
	return max(line, 1), column, message[len(match[0]):]
}

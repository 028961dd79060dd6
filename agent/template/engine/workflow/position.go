package workflow

import (
	"strings"
	"unicode/utf8"
)

// text finds places in a text that others count in bytes, runes and lines. Offsets that leave the
// engine count UTF-16 code units, as JavaScript does.
type text struct {
	content    string
	lineStarts []int
}

func newText(content string) text {
	starts := []int{0}
	for offset := 0; ; {
		next := strings.IndexByte(content[offset:], '\n')
		if next < 0 {
			return text{content, starts}
		}
		offset += next + 1
		starts = append(starts, offset)
	}
}

// lineStart returns the byte offset of a line, which counts from 1. Lines outside the text are its
// first and its last.
func (t text) lineStart(line int) int {
	return t.lineStarts[min(max(line, 1), len(t.lineStarts))-1]
}

// line returns the bytes of a line without its line break, and its byte offset.
func (t text) line(line int) (string, int) {
	start := t.lineStart(line)
	content, _, _ := strings.Cut(t.content[start:], "\n")
	return content, start
}

// runeOffset returns the byte offset of a column that counts runes from 1, as yaml.v3 does.
func (t text) runeOffset(line, column int) int {
	content, start := t.line(line)
	for index := range content {
		if column <= 1 {
			return start + index
		}
		column--
	}
	return start + len(content)
}

// units converts a byte offset into one in UTF-16 code units.
func (t text) units(offset int) int {
	return utf16Length(t.content[:min(max(offset, 0), len(t.content))])
}

func utf16Length(content string) int {
	units := 0
	for _, character := range content {
		units++
		if character >= utf8.RuneSelf && character > 0xFFFF {
			units++
		}
	}
	return units
}

package dashboard

import (
	"html/template"
	"maps"
	"slices"
)

// fieldsOf lists properties by name, and says how many are left out. It takes what they need from the room there is.
func fieldsOf(properties map[string]string, room *int) (list []field, omitted int) {
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if len(list) == maxFields || *room < 0 {
			return list, len(properties) - len(list)
		}
		label, _ := cutEscaped(name, 200)
		value, more := cutEscaped(properties[name], maxFieldBytes)
		if more {
			value += "…"
		}
		*room -= len(template.HTMLEscapeString(label)) + len(template.HTMLEscapeString(value)) + 100
		list = append(list, field{label, value})
	}
	return list, 0
}

// few returns the first of some names, each cut.
func few(names []string) []string {
	list := make([]string, 0, min(len(names), maxFields))
	for _, name := range names {
		if len(list) == maxFields {
			break
		}
		short, more := cutEscaped(name, 200)
		if more {
			short += "…"
		}
		list = append(list, short)
	}
	return list
}

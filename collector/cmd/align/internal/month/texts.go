package month

import (
	"embed"
	"fmt"
	"math/rand/v2"
	"strings"
)

// This file reads what people and assistants say: one file a language, in sections, one for each topic and one for what is
// common to all. A line is a key and a text; the same key again is another way to say it. What goes together has a word in
// common, behind a dot: answer.late fits ask.late, and an answer without such a word fits anything. In a text {a|b} is one
// of several, and <slot> a word of the conversation. A list, such as names, has its elements between slashes.

//go:embed texts/*.txt
var textFiles embed.FS

// topics are what people come with, as sections of the files.
var topics = []string{"order_status", "returns", "delivery", "sizes", "advice", "complaint", "invoice", "password"}

// languages are those with a file.
var languages = []string{"en", "de", "fr", "es", "ko", "ja", "ar"}

// texts is how things are said in one language: by section and key, all ways to say each.
type texts map[string]map[string][]way

// way is one way to say something, and what it is about; empty for anything.
type way struct{ about, text string }

// common is the section of what belongs to no topic.
const common = "common"

// lists are keys whose text is a list.
var lists = map[string]bool{"months": true, "first": true, "last": true, "items": true, "cities": true, "title": true}

var scripts = func() map[string]texts {
	all := make(map[string]texts)
	for _, language := range languages {
		file, err := textFiles.ReadFile("texts/" + language + ".txt")
		if err == nil {
			all[language], err = parseTexts(string(file))
		}
		if err != nil {
			panic(fmt.Sprintf("month: texts in %s: %v", language, err)) // it is part of the program
		}
	}
	return all
}()

// parseTexts reads a file.
func parseTexts(file string) (texts, error) {
	t := make(texts)
	var section map[string][]way
	for i, line := range strings.Split(file, "\n") {
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = make(map[string][]way)
			t[strings.Trim(line, "[]")] = section
		default:
			key, text, ok := strings.Cut(line, ": ")
			if !ok || section == nil || strings.Count(text, "{") != strings.Count(text, "}") || strings.Count(text, "<") != strings.Count(text, ">") {
				return nil, fmt.Errorf("line %d is no key and text, or a bracket of it is open", i+1)
			}
			key, about, _ := strings.Cut(key, ".")
			one := []string{text}
			if lists[key] {
				one = strings.Split(text, " / ")
			}
			for _, text := range one {
				section[key] = append(section[key], way{about, text})
			}
		}
	}
	return t, nil
}

// list returns the elements of a list that is common to all.
func (t texts) list(key string) []string {
	var all []string
	for _, w := range t[common][key] {
		all = append(all, w.text)
	}
	return all
}

// fitting returns the ways to say something that go with what it is about; all where that is empty.
func (t texts) fitting(section, key, about string) []way {
	var fit []way
	for _, w := range t[section][key] {
		if about == "" || w.about == "" || w.about == about {
			fit = append(fit, w)
		}
	}
	return fit
}

// pick returns one of several.
func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// choose takes one of each {a|b}.
func choose(r *rand.Rand, text string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		choices, after, _ := strings.Cut(rest, "}")
		b.WriteString(pick(r, strings.Split(choices, "|")))
		text = after
	}
}

// fill puts words in the place of slots.
func fill(text string, slots map[string]string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "<")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after, _ := strings.Cut(rest, ">")
		b.WriteString(slots[name])
		text = after
	}
}

// tidy takes out the spaces that empty choices leave.
func tidy(text string) string { return strings.Join(strings.Fields(text), " ") }

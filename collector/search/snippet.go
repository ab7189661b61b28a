package search

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// SnippetRunes is about how many characters of a text a snippet shows.
const SnippetRunes = 160

// Snippet cuts out of a text the stretch that has most of the marks, and returns it with the marks in it. Where something is
// left out before or after it stands an ellipsis. It cuts between characters, and beside spaces where there are any near.
func Snippet(text string, marks [][2]int) (piece string, inside [][2]int) {
	if utf8.RuneCountInString(text) <= SnippetRunes {
		return text, marks
	}
	from, to := stretch(text, marks)
	before, after := "", ""
	if from > 0 {
		before = "… "
	}
	if to < len(text) {
		after = " …"
	}
	for _, mark := range marks {
		if mark[0] >= from && mark[1] <= to {
			inside = append(inside, [2]int{mark[0] - from + len(before), mark[1] - from + len(before)})
		}
	}
	return before + text[from:to] + after, inside
}

// stretch returns the part of a text that is shown.
func stretch(text string, marks [][2]int) (from, to int) {
	if len(marks) == 0 {
		return 0, forward(text, 0, SnippetRunes)
	}
	// The one that begins with a mark and has most of them; the first of several.
	best, most := 0, 0
	for i := range marks {
		end := forward(text, marks[i][0], SnippetRunes*3/4)
		n := 0
		for _, mark := range marks[i:] {
			if mark[1] > end {
				break
			}
			n++
		}
		if n > most {
			best, most = i, n
		}
		if most == len(marks)-i {
			break // those that follow have fewer
		}
	}
	from = back(text, marks[best][0], SnippetRunes/4)
	to = max(forward(text, from, SnippetRunes), min(marks[best][1], forward(text, from, 4*SnippetRunes)))
	return from, to
}

// forward returns the end of about n characters from an offset, where a word ends if one does shortly before.
func forward(text string, from, n int) int {
	end, space := from, -1
	for ; n > 0 && end < len(text); n-- {
		if text[end] == ' ' && n < 24 {
			space = end
		}
		end += step(text[end:])
	}
	if end < len(text) && space > from {
		return space
	}
	return end
}

// back returns an offset about n characters before another, where a word begins if one does shortly after.
func back(text string, to, n int) int {
	start := to
	for ; n > 0 && start > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(text[:start])
		start -= size
	}
	if start == 0 {
		return 0
	}
	for i := start; i < to && i < start+24; i++ {
		if text[i] == ' ' {
			return i + 1
		}
	}
	// Not between a character and its marks.
	if n := norm.NFC.FirstBoundaryInString(text[start:to]); n > 0 {
		start += n
	}
	return start
}

// step returns the length of the first character and its marks.
func step(text string) int {
	if text[0] < utf8.RuneSelf && (len(text) == 1 || text[1] < utf8.RuneSelf) {
		return 1
	}
	return norm.NFC.NextBoundaryInString(text, true)
}

// Better compares two texts by what a snippet of them shows: how many different phrases, then how many marks.
func Better(a, b []int) int {
	kinds := func(counts []int) (kinds, sum int) {
		for _, n := range counts {
			if sum += n; n > 0 {
				kinds++
			}
		}
		return kinds, sum
	}
	ka, sa := kinds(a)
	kb, sb := kinds(b)
	return slices.Compare([]int{ka, sa}, []int{kb, sb})
}

package main

import (
	"fmt"
	"slices"
	"time"
)

// cell is one line of one table: a peer, set up in one way, doing one thing. Its rounds are measured far apart.
type cell struct {
	Scenario   string
	Peer       string
	Tuned      bool
	Gzip       bool
	Goroutines int
	Events     int
	Rate       int           // events a second; 0: as fast as it can
	Delay      time.Duration // of the network
	Spool      bool          // events survive the process
}

// name is what the cell's line is called.
func (c cell) name() string {
	if c.Spool {
		return c.Peer + ", spooled"
	}
	return c.Peer
}

// group is what the cells of one table have in common. In the growth table it is all but the number of events.
func (c cell) group() string {
	settings := "default"
	if c.Tuned {
		settings = "tuned"
	}
	if c.Gzip {
		settings += ", compressed"
	}
	switch c.Scenario {
	case "paced":
		return fmt.Sprintf("paced at %d events/s, %s", c.Rate, settings)
	case "burst":
		return fmt.Sprintf("burst of %d, %s", c.Events, settings)
	case "firehose":
		return fmt.Sprintf("firehose from %s, %s", plural(c.Goroutines, "goroutine"), settings)
	case "spool":
		return fmt.Sprintf("firehose into a spool, from %s, %s", plural(c.Goroutines, "goroutine"), settings)
	case "latency":
		return fmt.Sprintf("latency of %s, %s", c.Delay, settings)
	}
	return c.Scenario
}

func (c cell) job(url string) job {
	return job{
		Peer: c.Peer, URL: url, Tuned: c.Tuned, Gzip: c.Gzip, Events: c.Events, Goroutines: c.Goroutines,
		Rate: c.Rate, Delay: c.Delay, Resident: c.Scenario == "resident", Spool: c.Spool,
	}
}

const (
	pacedRate    = 20_000
	networkDelay = 20 * time.Millisecond

	defaultEvents = 1_000_000
	quickEvents   = 50_000
)

var scenarios = []string{"paced", "burst", "firehose", "latency", "spool", "growth", "resident"}

// plan lists the cells of one round. All sizes follow from events, the firehose's: 1,000,000 makes 25,000 at 20,000
// events/s, a burst of 10,000, and growth from 10,000 to 10,000,000. Peers that would take too long get fewer; all that is
// compared is compared by event.
func plan(events int, names, only []string) []cell {
	var cells []cell
	add := func(c cell, size func(*peer) int) {
		for _, p := range peers {
			if !slices.Contains(only, p.name) || c.Gzip && !p.compresses || c.Tuned && p == loopPeer {
				continue
			}
			c.Peer, c.Events = p.name, max(size(p), sessions)
			cells = append(cells, c)
		}
	}
	share := func(n int) func(*peer) int { return func(*peer) int { return events / n } }
	ours := func(c cell) {
		if slices.Contains(only, alignPeer.name) {
			c.Peer, c.Goroutines = alignPeer.name, max(c.Goroutines, 4)
			cells = append(cells, c)
		}
	}
	for _, name := range names {
		switch name {
		case "paced":
			for _, tuned := range []bool{false, true} {
				add(cell{Scenario: name, Tuned: tuned, Goroutines: 1, Rate: pacedRate}, share(40))
			}
		case "burst":
			for _, tuned := range []bool{false, true} {
				add(cell{Scenario: name, Tuned: tuned, Goroutines: 1}, share(100))
			}
		case "firehose":
			for _, tuned := range []bool{false, true} {
				for _, goroutines := range []int{1, 4, 16} {
					add(cell{Scenario: name, Tuned: tuned, Goroutines: goroutines}, firehose(events, tuned))
				}
				add(cell{Scenario: name, Tuned: tuned, Gzip: true, Goroutines: 4}, firehose(events, tuned))
			}
		case "latency":
			add(cell{Scenario: name, Tuned: true, Goroutines: 4, Delay: networkDelay}, func(p *peer) int {
				if p.serial {
					return events / 50
				}
				return firehose(events, true)(p)
			})
		case "spool":
			for _, tuned := range []bool{false, true} {
				for _, goroutines := range []int{4, 16} {
					ours(cell{Scenario: name, Events: events, Tuned: tuned, Goroutines: goroutines})
					ours(cell{Scenario: name, Events: events, Tuned: tuned, Goroutines: goroutines, Spool: true})
				}
			}
		case "growth":
			for _, n := range []int{events / 100, events / 10, events, events * 10} {
				ours(cell{Scenario: name, Events: n})
			}
		case "resident":
			ours(cell{Scenario: name, Events: events})
		}
	}
	return cells
}

// firehose is how many events a peer gets: all of them, but a fifth when it delivers them all and takes its time. One that
// drops what it cannot send gets the whole load.
func firehose(events int, tuned bool) func(*peer) int {
	return func(p *peer) int {
		if p.slow || tuned && p != alignPeer {
			return events / 5
		}
		return events
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

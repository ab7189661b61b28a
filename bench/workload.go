package main

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"
)

// message is the work: what a chat app knows when a message has been written. Every client makes its own kind of event of
// it, inside the measured call, as an app would.
type message struct {
	session                 string
	index                   int // from 1, a different one for every event of a run: the server counts by it
	role, content           string
	model, channel, variant string // three properties of the app's own
}

const (
	sessions     = 800 // open at once; a multiple of every number of goroutines, so that a session stays with one
	texts        = 4096
	contentBytes = 200
)

// read does with the content what an app has done when it records a message, just received or just generated: it has had all of
// it in its hands. It returns how many lines end there. These texts lie in a pool that is larger than a processor's own
// cache, as no app's do: a client that looks at them in its call, to check or to encode them, would wait for the memory, and
// one that keeps a pointer for later would not.
func (m *message) read() int { return strings.Count(m.content, "\n") }

// workload is the same in every process: the server knows what it should see.
type workload struct {
	sessions []string
	texts    []string
}

var (
	roles    = []string{"user", "assistant"}
	models   = []string{"small-2", "large-4", "large-4-turbo"}
	channels = []string{"web", "ios", "android", "email"}
	variants = []string{"control", "warm-tone"}
)

// vocabulary makes texts that compress about as well as people's.
var vocabulary = strings.Fields(`the my your order arrived yesterday but box was open and one of two lamps is broken could you
please send another I have a question about invoice number from last month it shows amount we never agreed on thanks for
reaching out sorry to hear that can check tracking code right away parcel left warehouse Monday should be with by Friday
customs may take longer would like refund or replacement both are fine our policy allows returns within thirty days keep
receipt password reset link does not work when click says expired try again using button below it's valid an hour hello
who do talk if want change delivery address already paid card charged twice bank confirms see duplicate will reverse takes
three five business days sure anything else today no that's all great help what opening hours on weekends store near
station opens at nine closes six how many seats plan include unlimited price per seat billed yearly discount students yes
upload certificate account settings page language app switched German back menu profile "language" save café naïve résumé
don't forget battery manual section explains charging overnight warranty covers defects years serial located under lid`)

func newWorkload() *workload {
	random := rand.New(rand.NewPCG(7, 11))
	w := &workload{sessions: make([]string, sessions), texts: make([]string, texts)}
	for i := range w.sessions {
		var id [16]byte
		for j := range id {
			id[j] = byte(random.Uint32())
		}
		w.sessions[i] = hex.EncodeToString(id[:])
	}
	// All texts are parts of one, so that whoever collects garbage in a client's process has little to do for the benchmark.
	var all strings.Builder
	var ends [texts]int
	for i := range ends {
		for begin := all.Len(); all.Len()-begin < contentBytes; {
			all.WriteString(vocabulary[random.IntN(len(vocabulary))])
			all.WriteByte(" ,.\n"[max(0, random.IntN(20)-16)])
		}
		ends[i] = all.Len()
	}
	begin := 0
	for i, end := range ends {
		w.texts[i] = all.String()[begin:end]
		begin = end
	}
	return w
}

// message sets m to the i-th message.
func (w *workload) message(i int, m *message) {
	m.session = w.sessions[i%sessions]
	m.index = i + 1
	m.role = roles[i&1]
	m.content = w.texts[i*31%texts]
	m.model = models[i%len(models)]
	m.channel = channels[i%len(channels)]
	m.variant = variants[i%sessions%len(variants)]
}

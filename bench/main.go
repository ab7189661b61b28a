// Bench measures this SDK and its peers doing the same work in the same run, and prints a table.
//
//	go run ./bench            # everything, five rounds, about a quarter of an hour
//	go run ./bench --quick    # one small round, under a minute
//
// Each client runs in a process of its own, and so does the server they all send to, which decodes what arrives in each
// peer's wire format, compares it with what was sent and counts. All of it stays on this machine.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// roleVariable makes a process of this program a server or a client of the one that started it.
const roleVariable = "ALIGN_BENCH_ROLE"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	stayLocal()
	var err error
	switch role := os.Getenv(roleVariable); role {
	case "":
		err = bench(ctx, os.Args[1:], os.Stdout, os.Stderr)
	case "server":
		err = serverRole(ctx, os.Stdin, os.Stdout)
	case "client":
		err = clientRole(ctx, os.Stdin, os.Stdout)
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	rounds, events  int
	scenarios, only []string
	json            bool
	svg             string
}

func parse(args []string, out io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.IntVar(&o.rounds, "rounds", 5, "how often everything is measured, interleaved")
	flags.IntVar(&o.events, "events", defaultEvents, "events in the firehose; every other size follows")
	flags.BoolVar(&o.json, "json", false, "print JSON with every round instead of tables")
	flags.StringVar(&o.svg, "svg", "", "also draw CPU an event and loss to this `file`")
	quick := flags.Bool("quick", false, fmt.Sprintf("one round of %d events, unless --rounds or --events say otherwise", quickEvents))
	scenario := flags.String("scenario", strings.Join(scenarios, ","), "only these")
	var names []string
	for _, p := range peers {
		names = append(names, p.name)
	}
	peer := flags.String("peer", strings.Join(names, ","), "only these")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if *quick && !given["rounds"] {
		o.rounds = 1
	}
	if *quick && !given["events"] {
		o.events = quickEvents
	}
	o.scenarios, o.only = strings.Split(*scenario, ","), strings.Split(*peer, ",")
	for _, s := range o.scenarios {
		if !slices.Contains(scenarios, s) {
			return o, fmt.Errorf("no scenario %q", s)
		}
	}
	for _, p := range o.only {
		if _, err := peerNamed(p); err != nil {
			return o, err
		}
	}
	if flags.NArg() > 0 || o.rounds < 1 || o.events < 1 {
		return o, errors.New("--rounds and --events are at least 1, and nothing follows the flags")
	}
	return o, nil
}

// bench measures what the command line asks for and reports.
func bench(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	url, stop, err := startServer(ctx)
	if err != nil {
		return err
	}
	defer stop()
	r := newReport(o)
	cells := plan(o.events, o.scenarios, o.only)
	for round := range o.rounds {
		fmt.Fprintf(progress, "round %d of %d, %d measurements\n", round+1, o.rounds, len(cells))
		for _, c := range cells {
			m, err := measureApart(ctx, c.job(url))
			if err != nil {
				return fmt.Errorf("%s, %s: %w", c.Peer, c.group(), err)
			}
			r.add(c, m)
		}
	}
	if o.svg != "" {
		if err := draw(r, o.svg); err != nil {
			return err
		}
	}
	if o.json {
		return r.writeJSON(out)
	}
	return r.write(out)
}

// startServer starts the server's process; stop ends it.
func startServer(ctx context.Context) (url string, stop func(), err error) {
	cmd, err := child(ctx, "server")
	if err != nil {
		return "", nil, err
	}
	stdin, err := cmd.StdinPipe() // it lives until this is closed: it ends with us, however we end
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		stdin.Close()
		cmd.Wait()
	}
	if err := json.NewDecoder(stdout).Decode(&url); err != nil {
		stop()
		return "", nil, fmt.Errorf("server: %w", err)
	}
	return url, stop, nil
}

func serverRole(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode("http://" + l.Addr().String()); err != nil {
		return err
	}
	go func() {
		io.Copy(io.Discard, in)
		cancel()
	}()
	return newServer().serve(ctx, l)
}

// jobLimit ends a client that hangs.
const jobLimit = 5 * time.Minute

// measureApart runs a job in a process of its own.
func measureApart(ctx context.Context, j job) (*measurement, error) {
	ctx, cancel := context.WithTimeout(ctx, jobLimit)
	defer cancel()
	cmd, err := child(ctx, "client")
	if err != nil {
		return nil, err
	}
	orders, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	var complaints strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(orders)), &complaints
	report, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(complaints.String()))
	}
	var m measurement
	if err := json.Unmarshal(report, &m); err != nil {
		return nil, err
	}
	if m.Strays > 0 {
		return nil, fmt.Errorf("tried %d times to reach another machine", m.Strays)
	}
	return &m, nil
}

func clientRole(ctx context.Context, in io.Reader, out io.Writer) error {
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return err
	}
	m, err := do(ctx, j)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(m)
}

// child is this program again. Its environment is empty: several SDKs read settings from it.
func child(ctx context.Context, role string) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = []string{roleVariable + "=" + role}
	return cmd, nil
}

package metrics

import "testing"

// The reason names the direction in which the share moved, and never a movement below 0.
func TestAGatesReasonSaysWhichWayItMoved(t *testing.T) {
	d := Find("thumbs_up_rate")
	share := func(hits, n float64) Value { return valueOf(d, hits, n) }
	for _, c := range []struct {
		limit               Limit
		baseline, candidate Value
		want                string
	}{
		{Limit{Worst: 0.03}, share(700, 1000), share(850, 1000), "it rose by at least 11.4 pp with 95 % confidence"},
		{Limit{Worst: 0.03}, share(8000, 10000), share(7900, 10000), "it fell by at most 2.1 pp with 95 % confidence; by 3.0 pp it may"},
		{Limit{Worst: 0.03}, share(800, 1000), share(700, 1000), "it fell by at least 6.2 pp with 95 % confidence; by 3.0 pp it may"},
		{Limit{Worst: 0.03}, share(80, 100), share(80, 100), "it rose by up to 11.1 pp or fell by up to 11.1 pp with 95 % confidence; whether it fell by more than 3.0 pp takes more data"},
		{Limit{Worst: 0.03}, share(8000, 10000), share(7700, 10000), "it fell by 1.9 pp to 4.1 pp with 95 % confidence; whether by more than 3.0 pp takes more data"},
		{Limit{Worst: 0.03, Rise: true}, share(200, 1000), share(100, 1000), "it fell by at least 6.9 pp with 95 % confidence"},
		{Limit{Worst: 0.03, Rise: true}, share(100, 1000), share(200, 1000), "it rose by at least 6.9 pp with 95 % confidence; by 3.0 pp it may"},
	} {
		if got := Judge(c.limit, c.baseline, c.candidate).Reason; got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestGatePassesOnlyWhatIsSure(t *testing.T) {
	d := Find("thumbs_up_rate")
	share := func(hits, n float64) Value { return valueOf(d, hits, n) }
	for _, c := range []struct {
		name                string
		limit               Limit
		baseline, candidate Value
		want                Verdict
	}{
		{"the same, of many", Limit{Worst: 0.03}, share(8000, 10000), share(8000, 10000), Pass},
		{"the same, of few", Limit{Worst: 0.03}, share(8, 10), share(8, 10), NotEnoughData},
		{"better", Limit{Worst: 0.03}, share(700, 1000), share(800, 1000), Pass},
		{"far worse", Limit{Worst: 0.03}, share(800, 1000), share(700, 1000), Fail},
		{"a little worse, within the limit", Limit{Worst: 0.03}, share(8000, 10000), share(7900, 10000), Pass},
		{"nobody voted", Limit{Worst: 1}, share(8, 10), share(0, 0), NotEnoughData},
		{"rises, as it must not", Limit{Worst: 0.03, Rise: true}, share(100, 1000), share(200, 1000), Fail},
		{"falls, as it may", Limit{Worst: 0.03, Rise: true}, share(200, 1000), share(100, 1000), Pass},
	} {
		if got := Judge(c.limit, c.baseline, c.candidate); got.Verdict != c.want || got.Reason == "" {
			t.Errorf("%s: %s, %s", c.name, got.Verdict, got.Reason)
		}
	}
	for verdicts, want := range map[[2]Verdict]Verdict{{Pass, Pass}: Pass, {NotEnoughData, Fail}: Fail, {NotEnoughData, Pass}: NotEnoughData} {
		if got := Overall([]Judged{{Verdict: verdicts[0]}, {Verdict: verdicts[1]}}); got != want {
			t.Errorf("%v: %s", verdicts, got)
		}
	}
	for name, want := range map[string]string{"thumbs_up": "thumbs_up_rate", "error_rate": "error_rate", "dau": "", "net_thumbs": "", "response_latency": "", "x": ""} {
		if d, err := Gated(name); (err == nil) != (want != "") || err == nil && d.Name != want {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}

package server

import (
	"net"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
)

// metrics is what Prometheus scrapes. No label holds anything that a client chose.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
}

func newMetrics(store collector.Store, ingested func() map[string]ingest.Counts) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "align_http_request_duration_seconds",
			Help:    "How long requests took, from their headers to the answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "status"}),
	}
	m.registry.MustRegister(m.requests, storeMetrics{store, ingested}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// observe counts a request. Its route is one of the mux's patterns.
func (m *metrics) observe(route string, status int, seconds float64) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Observe(seconds)
}

// handler answers this machine, and admin keys from elsewhere; elsewhere is behind a check of keys.
func (m *metrics) handler(elsewhere func(http.Handler) http.Handler) http.Handler {
	open := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	guarded := elsewhere(open)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fromThisMachine(r) {
			open.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// fromThisMachine reports whether a request comes from this machine and is meant for it. A proxy here sends on for others,
// and says so; a page in a browser here may only have been led here by its own name.
func fromThisMachine(r *http.Request) bool {
	for _, forwarded := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(forwarded) != "" {
			return false
		}
	}
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !isLoopback(remote) {
		return false
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return host == "localhost" || isLoopback(host)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// storeMetrics are read off counters that are there anyway.
type storeMetrics struct {
	store    collector.Store
	ingested func() map[string]ingest.Counts // by dialect
}

var (
	descEvents   = prometheus.NewDesc("align_events_total", "Events taken in, by what became of them.", []string{"dialect", "result"}, nil)
	descSetAside = prometheus.NewDesc("align_events_set_aside_total", "Events set aside, by reason.", []string{"dialect", "reason"}, nil)
	descForeign  = prometheus.NewDesc("align_events_foreign_project_total", "Events that named another project than their key's.", nil, nil)
	descIgnored  = prometheus.NewDesc("align_items_ignored_total", "Items of requests that a dialect understood and has no use for.", []string{"dialect"}, nil)
	descUnknown  = prometheus.NewDesc("align_members_unknown_total", "Members of requests that a dialect does not know.", []string{"dialect"}, nil)
	descRefused  = prometheus.NewDesc("align_dialect_requests_refused_total", "Requests that a dialect other than Align's did not take, by status.", []string{"dialect", "status"}, nil)
	descQueued   = prometheus.NewDesc("align_store_queue_events", "Events that wait to be stored or are being stored.", nil, nil)
	descBytes    = prometheus.NewDesc("align_store_queue_bytes", "Their bytes.", nil, nil)
	descLine     = prometheus.NewDesc("align_store_line_events", "Events that wait for room in the queue.", nil, nil)
	descCommits  = prometheus.NewDesc("align_store_commit_duration_seconds", "How long transactions took, until they were on disk.", nil, nil)
	descIndex    = prometheus.NewDesc("align_search_unindexed_messages", "Messages that cannot be found by their text yet.", nil, nil)
	descLag      = prometheus.NewDesc("align_search_lag_seconds", "For how long the first of them cannot.", nil, nil)
	descDue      = prometheus.NewDesc("align_digests_due", "Sessions that changed since they were digested for metrics, up to 10,000.", nil, nil)
	descDueLag   = prometheus.NewDesc("align_digests_lag_seconds", "Since when some of them wait.", nil, nil)
	descDueFail  = prometheus.NewDesc("align_digests_failed_total", "Digests that could not be made.", nil, nil)
	descFile     = prometheus.NewDesc("align_store_file_bytes", "Size of the database and its log.", []string{"file"}, nil)
)

// Describe implements [prometheus.Collector].
func (storeMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descEvents, descSetAside, descForeign, descIgnored, descUnknown, descRefused, descQueued, descBytes, descLine, descCommits, descIndex, descLag, descFile} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (m storeMetrics) Collect(to chan<- prometheus.Metric) {
	foreign := 0
	for dialect, counts := range m.ingested() {
		foreign += counts.Foreign
		collectCounts(to, dialect, counts)
	}
	to <- prometheus.MustNewConstMetric(descForeign, prometheus.CounterValue, float64(foreign))
	stats := m.store.Stats()
	to <- prometheus.MustNewConstMetric(descQueued, prometheus.GaugeValue, float64(stats.QueuedEvents))
	to <- prometheus.MustNewConstMetric(descBytes, prometheus.GaugeValue, float64(stats.QueuedBytes))
	to <- prometheus.MustNewConstMetric(descLine, prometheus.GaugeValue, float64(stats.LineEvents))
	to <- prometheus.MustNewConstMetric(descIndex, prometheus.GaugeValue, float64(stats.UnindexedMessages))
	to <- prometheus.MustNewConstMetric(descLag, prometheus.GaugeValue, stats.IndexLag.Seconds())
	to <- prometheus.MustNewConstMetric(descDue, prometheus.GaugeValue, float64(stats.DigestsDue))
	to <- prometheus.MustNewConstMetric(descDueLag, prometheus.GaugeValue, stats.DigestLag.Seconds())
	to <- prometheus.MustNewConstMetric(descDueFail, prometheus.CounterValue, float64(stats.DigestsFailed))
	to <- prometheus.MustNewConstMetric(descFile, prometheus.GaugeValue, float64(stats.FileBytes), "data")
	to <- prometheus.MustNewConstMetric(descFile, prometheus.GaugeValue, float64(stats.LogBytes), "log")
	to <- prometheus.MustNewConstMetric(descFile, prometheus.GaugeValue, float64(stats.IndexBytes), "search")
	buckets := make(map[float64]uint64, len(stats.Commits.Bounds))
	for i, bound := range stats.Commits.Bounds {
		buckets[bound.Seconds()] = stats.Commits.Counts[i]
	}
	to <- prometheus.MustNewConstHistogram(descCommits, stats.Commits.Count, stats.Commits.Sum.Seconds(), buckets)
}

// collectCounts tells what one dialect has taken in.
func collectCounts(to chan<- prometheus.Metric, dialect string, counts ingest.Counts) {
	count := func(desc *prometheus.Desc, n int, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), append([]string{dialect}, labels...)...)
	}
	aside := 0
	for reason, n := range counts.SetAside {
		aside += n
		count(descSetAside, n, string(reason))
	}
	for result, n := range map[string]int{"stored": counts.Stored, "duplicate": counts.Duplicate, "set_aside": aside} {
		count(descEvents, n, result)
	}
	for status, n := range counts.Refused {
		count(descRefused, n, strconv.Itoa(status))
	}
	count(descIgnored, counts.Ignored)
	count(descUnknown, counts.Unknown)
}

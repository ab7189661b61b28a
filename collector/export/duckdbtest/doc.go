// Package duckdbtest proves that the SQL of docs/export.sql, run by DuckDB on files of the daily export, says what GetMetrics
// says. It is a module of its own, as DuckDB is large and needs cgo: nobody who builds the collector needs it.
package duckdbtest

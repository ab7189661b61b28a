//go:build race

package main

// raceEnabled says that memory is not what it is: the race detector needs several times as much.
const raceEnabled = true

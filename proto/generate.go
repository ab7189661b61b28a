// Package proto holds the wire schema; proto/gen holds what is generated from it.
package proto

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.50.0 generate

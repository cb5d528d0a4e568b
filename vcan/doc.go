// Package vcan holds the tests that need a real CAN bus: our ISO-TP against the kernel's, our simulated cars against the
// kernel as tester. It has no code. How to get a bus: README.md.
package vcan

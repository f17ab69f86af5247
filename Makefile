# Each recipe is one plain command; `make` alone lists them.

.PHONY: help run check lint test bench chaos deny layering clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*##/\t/' | expand -t 12

run: ## build and start a server: embedded stores in ./data, nothing else needed
	cargo run --release -- serve --data data

check: lint ## what to run before a commit: needs no services
	cargo test --lib
	cargo test --test it layering

lint: ## format, clippy, documentation, licences: every warning is an error
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
	scripts/deny

test: ## everything, as CI does: installs and starts the real services itself
	scripts/test

bench: ## measure what all costs beside floors, and say which goals are reached
	scripts/bench

chaos: ## break things under load and check that every guarantee held
	scripts/chaos

deny: ## licences, banned crates and sources of the dependency tree
	scripts/deny

layering: ## the test of who may import whom
	cargo test --test it layering

clean: ## remove what was built (not ./data)
	cargo clean
	rm -rf tests/web/node_modules

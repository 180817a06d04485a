import ArgumentParser

/// The options of `sluice-load`.
struct LoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sluice-load",
        abstract: "Loads sidecars with checks, measures how fast they answer, and proves that they count right.",
        discussion: """
            Closed loop by default: each connection keeps --pipeline checks in flight. With --rate an open loop sends \
            at that rate whatever the answers do, and latency counts from when a check should have been sent (corrected \
            for coordinated omission).

            --ramp goes from one rate to another, --find-rate searches the highest that keeps --p99: it doubles the rate \
            until a step of 2 s fails twice, closes in, and measures for --duration at what it found.

            --target redis sends the same load straight to Redis, one script a check, and --target ping sends PING to any \
            RESP server: what Sluice costs is the difference.

            The oracle adds up, over all sidecars, what was admitted in each window of each grant, and fails the run \
            when a promise was broken: more than the maximum admitted, a charge lost, a check denied that fitted, a \
            share exceeded during an outage. Nobody else may call for the same grants meanwhile (--grant-prefix). \
            With --sessions it takes limits to count by session, else by grant (--scope). At the end it compares the \
            counters in Redis with what was admitted: a charge that was lost, or taken twice, breaks a promise, too. Limits \
            that are no fixed windows, or shadows, are measured and not judged, where --policy or --judge-by names them.

            'sluice-load bench' measures Sluice side by side with Redis called directly; see sluice-load bench --help.

            EXAMPLES:
              sluice-load --socket sluice.sock
              sluice-load --socket a.sock --socket b.sock --grants 1000 --duration 1m
              sluice-load --socket a.sock --rate 20000 --connections 50 --json
              sluice-load --socket a.sock --find-rate --p99 5ms --connections 50
              sluice-load --socket a.sock --tool search=3 --tool build=1 --reserve 20
              sluice-load --socket a.sock --skew 1.1 --cost 1=9 --cost 5=1
              sluice-load --spawn --faults outage.txt --duration 1m --report out.html
              sluice-load --target redis --socket redis.sock

            EXIT CODES: 0 ok, 1 the oracle found a broken promise (or --find-rate no rate), 2 the run could not be carried out, 3 nothing was judged: no limit counted, or only such as are measured \
            (--no-oracle if that is meant), 64 wrong usage. \
            Ctrl-C ends the run and still prints the summary; a second one ends at once.
            """)

    @Option(
        help: ArgumentHelp(
            "Path of a sidecar's socket, or tcp://host:port; give it again for each sidecar (this or --spawn).",
            valueName: "path"))
    var socket: [String] = []
    @Option(help: ArgumentHelp("What listens there: sluice, redis or ping.", valueName: "target"))
    var target = "sluice"

    @OptionGroup(title: "LOAD") var load: LoadOptions
    @OptionGroup(title: "RATE") var rates: RateOptions
    @OptionGroup(title: "WORKLOAD") var workload: WorkloadOptions
    @OptionGroup(title: "TRACES") var traces: TraceOptions
    @OptionGroup(title: "PROCESSES OF ITS OWN") var own: SpawnOptions
    @OptionGroup(title: "VERDICT") var verdict: VerdictOptions
}

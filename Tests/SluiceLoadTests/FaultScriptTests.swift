@testable import sluice_load
import Testing

@Suite struct FaultScriptTests {
    @Test func readsEveryAction() throws {
        let script = try FaultScript(
            text: """
                # A drill.
                at 10s stop redis   # hangs

                at 500ms kill sidecar 1
                at 1m continue redis
                at 2m restart sidecar 2
                at 2m flush redis
                at 3m reload policy
                at 4m reload policy other.json
                """, sidecars: 2)
        #expect(
            script.steps == [
                .init(atNs: 500_000_000, action: .act(.kill, .sidecar(1))),
                .init(atNs: 10_000_000_000, action: .act(.stop, .redis)),
                .init(atNs: 60_000_000_000, action: .act(.continue, .redis)),
                .init(atNs: 120_000_000_000, action: .act(.restart, .sidecar(2))),
                .init(atNs: 120_000_000_000, action: .flush),
                .init(atNs: 180_000_000_000, action: .reloadPolicy(path: nil)),
                .init(atNs: 240_000_000_000, action: .reloadPolicy(path: "other.json")),
            ])
        #expect(script.steps.map { "\($0.action)" }.first == "kill sidecar 1")
    }

    @Test(arguments: [
        ("stop redis", "'stop redis' is no action, expected one such as 'at 10s stop redis'"),
        ("at soon stop redis", "'at soon stop redis' is no action, expected one such as 'at 10s stop redis'"),
        ("at 1s stop sidecar 3", "sidecar is '3', expected 1 to 2"),
        ("at 1s stop postgres", "'postgres' is nothing to act on, expected redis or sidecar N"),
        ("at 1s stop redis now", "'redis now' is nothing to act on, expected redis or sidecar N"),
        (
            "at 1s flush sidecar 1",
            "'flush' is no action, expected stop, continue, kill, restart, flush redis or reload policy"
        ),
    ])
    func saysWhatIsWrongAndWhere(text: String, expected: String) {
        do {
            _ = try FaultScript(text: "at 1s stop redis\n\(text)\n", sidecars: 2)
            Issue.record("it was taken")
        } catch {
            #expect(error.line == 2 && error.problem == expected)
        }
    }
}

import SluicePolicy
import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct KeyTemplateTests {
    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test(arguments: [
        ("sluice:1:{", "g", "}:t:c:fixed_window:60s:"),
        ("sluice:1:{", "g}:t:c;session=s", ":fixed_window:60s:"),
        ("sluice:1:{", "g}:all_tools:c;attribute=team=x", ":token_bucket:60s"),
        ("a:b:1:{", "session=s", "}:t:c:sliding_window:1d:"),
        ("sluice:1:{", "global=", "}:t:c:concurrency:endless"),
        ("", "nothing to go by", ""),
    ])
    func aStemInParts(head: String, own: String, tail: String) {
        let parts = BaseKeyParts(bytes(head + own + tail))
        #expect(Array(parts.head) == bytes(head) && Array(parts.own) == bytes(own) && Array(parts.tail) == bytes(tail))
    }

    /// Whatever the grant's name, the parts together are the base key again.
    @Test func partsOfAnyKey() {
        for grant in ["g", "a}b", "{", ";", ":", "}:t:c;session=x:", "ä", String(repeating: "g", count: 256)] {
            for subject in [CounterKey.Subject.grant, .session("}:{;"), .attribute(name: ";", value: ":")] {
                let baseKey = CounterKey.baseKey(
                    prefix: "sluice", grant: bytes(grant), subject: subject, container: .tool("t;}"), counter: "c",
                    algorithm: .fixedWindow, window: .seconds(60))
                let parts = BaseKeyParts(baseKey)
                #expect(Array(parts.head + parts.own + parts.tail) == baseKey)
                #expect(Array(parts.head) == bytes("sluice:1:{") && parts.tail.ends(with: bytes(":fixed_window:60s:")))
                let counter = Counter(baseKey: baseKey)
                #expect(counter.baseKey == baseKey && counter.hash == stableHash(baseKey))
            }
        }
    }

    /// Counters that differ only in their owner have one template, which is freed with the last of them.
    @Test func aFamilyIsSharedAndGoes() {
        var table = PlanTable(maxPlans: 10)
        let rows = ["g", "h", "i"].map {
            table.insertCounter(
                baseKey: bytes("sluice:1:{\($0)}:t:c:fixed_window:60s:"), window: .seconds(60), algorithm: .fixedWindow)
        }
        let other = table.insertCounter(
            baseKey: bytes("sluice:1:{g}:t:d:fixed_window:60s:"), window: .seconds(60), algorithm: .fixedWindow)
        #expect(table.templateCount == 2 && table[rows[0]].template === table[rows[2]].template)
        #expect(table[other].template !== table[rows[0]].template)
        for row in rows { table.release(counter: row) }
        #expect(table.templateCount == 1)
        table.release(counter: other)
        #expect(table.templateCount == 0)
    }
}

extension ArraySlice<UInt8> {
    fileprivate func ends(with bytes: [UInt8]) -> Bool { suffix(bytes.count).elementsEqual(bytes) }
}

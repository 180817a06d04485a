import SluicePolicy
import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct KeyTemplateTests {
    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test(arguments: [
        ("sluice:2:{", "g", "}:t:c:f60:"),
        ("sluice:2:{", "g}:t:c;s=s", ":f60:"),
        ("sluice:2:{", "g}:*:c;a=team=x", ":b60"),
        ("sluice:2:{", "s=s", "}:t:c:s86400:"),
        ("sluice:2:{", "global=", "}:t:c:c"),
        ("", "nothing to go by", ""),
    ])
    func aStemInParts(head: String, own: String, tail: String) {
        let parts = BaseKeyParts(bytes(head + own + tail), in: "sluice")
        #expect(Array(parts.head) == bytes(head) && Array(parts.own) == bytes(own) && Array(parts.tail) == bytes(tail))
    }

    /// Whatever the grant's name, the parts together are the base key again.
    @Test func partsOfAnyKey() {
        for grant in ["g", "a}b", "{", ";", ":", "}:t:c;s=x:", "ä", String(repeating: "g", count: 256)] {
            for subject in [CounterKey.Subject.grant, .session("}:{;"), .attribute(name: ";", value: ":")] {
                let baseKey = CounterKey.baseKey(
                    in: "sluice", grant: bytes(grant), subject: subject, container: .tool("t;}"), counter: "c",
                    algorithm: .fixedWindow, window: .seconds(60))
                let parts = BaseKeyParts(baseKey, in: "sluice")
                #expect(Array(parts.head + parts.own + parts.tail) == baseKey)
                #expect(Array(parts.head) == bytes("sluice:2:{") && parts.tail.ends(with: bytes(":f60:")))
                let counter = Counter(baseKey: baseKey)
                #expect(counter.baseKey == baseKey && counter.hash == stableHash(baseKey))
            }
        }
    }

    /// Counters that differ only in their owner have one template, which is freed with the last of them.
    @Test func aFamilyIsSharedAndGoes() {
        var table = PlanTable(keys: "sluice", maxPlans: 10)
        let rows = ["g", "h", "i"].map {
            table.insertCounter(
                baseKey: bytes("sluice:2:{\($0)}:t:c:f60:"), window: .seconds(60), algorithm: .fixedWindow)
        }
        let other = table.insertCounter(
            baseKey: bytes("sluice:2:{g}:t:d:f60:"), window: .seconds(60), algorithm: .fixedWindow)
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

import ArgumentParser
import SluiceEngine
@testable import sluice_load
import Support
import Testing

/// Grants from a file.
@Suite struct GrantListTests {
    @Test func readsNamesAndWeights() throws {
        let list = try GrantList(text: "alice\n\nbob smith\t2.5\r\n#carol\t1\ndave")
        #expect(list.names == ["alice", "bob smith", "#carol", "dave"])
        #expect(list.weights == [1, 2.5, 1, 1])
        #expect(try GrantList(text: "\n").names.isEmpty)
    }

    @Test(arguments: [
        ("a\nb\t0", "line 2: the weight is '0', expected a number above 0, at most 1000000000.0"),
        ("a\tnan", "line 1: the weight is 'nan', expected a number above 0, at most 1000000000.0"),
        ("a\t1\t2", "line 1: the weight is '1\t2', expected a number above 0, at most 1000000000.0"),
        ("a\n\na", "line 3: 'a' is there twice"),
        ("\t1", "line 1: a name of 0 bytes, expected 1 to 256, no NUL"),
        ("a\0b", "line 1: a name of 3 bytes, expected 1 to 256, no NUL"),
        (String(repeating: "x", count: 257), "line 1: a name of 257 bytes, expected 1 to 256, no NUL"),
    ])
    func saysWhatIsWrong(text: String, expected: String) {
        let fault = #expect(throws: LineFault.self) { try GrantList(text: text) }
        #expect(fault.map { "\($0)" } == expected)
    }

    @Test func theyAreTheGrantsOfTheRun() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("alice\nbob\t9\n", to: "grants")
        let settings = try LoadCommand.parse(["--socket", "a", "--grants-file", path]).settings(chance: 1)
        #expect(settings.grantCount == 2 && settings.grantName(1) == "bob")
        #expect(settings.subjectName(0) == "grant alice")
        let chooser = Chooser(weights: try #require(settings.namedGrants).weights)
        var random = SeededRandom(seed: 1)
        let bobs = (0..<10_000).count { _ in chooser.next(using: &random) == 1 }
        #expect((8800...9200).contains(bobs))
    }

    @Test func excludesOtherGrants() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("", to: "grants")
        func complaint(_ arguments: String...) -> String {
            do {
                _ = try LoadCommand.parse(["--socket", "a", "--grants-file", path] + arguments).settings(chance: 1)
                return "valid"
            } catch {
                return LoadCommand.message(for: error)
            }
        }
        #expect(complaint("--grants", "5") == "--grants-file and --grants exclude each other")
        #expect(complaint("--skew", "1") == "--grants-file and --skew exclude each other")
        #expect(complaint() == "--grants-file \(path): there is no grant in it")
    }
}

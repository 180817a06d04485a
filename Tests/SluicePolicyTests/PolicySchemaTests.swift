import Foundation
import SluicePolicy
import Support
import Testing

/// The JSON Schema, checked by a validator of others if it is there: `scripts/schema` installs it.
@Suite struct PolicySchemaTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../..").standardizedFileURL
    private static let python = root.appendingPathComponent(".build/schema/bin/python").path
    private static var hasValidator: Bool { FileManager.default.isExecutableFile(atPath: python) }

    /// Reads a schema and then documents, each a line of JSON; prints for each whether it is valid.
    private static let program = """
        import json, sys
        from jsonschema import Draft202012Validator
        schema = json.loads(sys.stdin.readline())
        Draft202012Validator.check_schema(schema)
        validator = Draft202012Validator(schema)
        for line in sys.stdin:
            try:
                print("valid" if validator.is_valid(json.loads(json.loads(line))) else "invalid")
            except json.JSONDecodeError:
                print("invalid")
        """

    private static func areValid(_ documents: [String]) throws -> [Bool] {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: python)
        process.arguments = ["-c", program]
        let output = Pipe()
        process.standardOutput = output
        let schema = try JSONSerialization.jsonObject(with: Data(PolicySchema.text.utf8))
        let lines =
            try [JSONSerialization.data(withJSONObject: schema)]
            + documents.map {
                try JSONSerialization.data(withJSONObject: $0, options: .fragmentsAllowed)
            }
        let folder = try TemporaryFolder()
        let path = try folder.write(lines.map { String(decoding: $0, as: UTF8.self) + "\n" }.joined(), to: "input")
        process.standardInput = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
        try process.run()
        let printed = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        return String(decoding: printed, as: UTF8.self).split(separator: "\n").map { $0 == "valid" }
    }

    /// Its keys are those of the reader's tables, in every object.
    @Test func itHasEveryKey() throws {
        let schema = try #require(
            try JSONSerialization.jsonObject(with: Data(PolicySchema.text.utf8)) as? [String: Any])
        let definitions = try #require(schema["$defs"] as? [String: Any])
        let objects: [(KeyRow.Object, Any?)] = [
            (.document, schema), (.tool, definitions["tool"]), (.limit, definitions["limit"]),
            (.group, definitions["group"]), (.server, definitions["server"]), (.hours, definitions["hours"]),
        ]
        for (object, definition) in objects {
            let properties = try #require((definition as? [String: Any])?["properties"] as? [String: Any])
            let known = Set(KeyTable.rows.filter { $0.object == object }.map(\.key))
            #expect(known.subtracting(properties.keys) == [], "\(object)")
        }
    }

    @Test(.enabled(if: hasValidator, "no validator: scripts/schema installs python's jsonschema below .build/schema"))
    func validDocumentsAreValid() throws {
        var documents = KeyTable.rows.map(\.document) + [seedDocument, wholeLanguage, wholeRules]
        for folder in ["deploy/examples", "deploy/policies"] {
            let names = (try? FileManager.default.contentsOfDirectory(atPath: Self.root.path + "/" + folder)) ?? []
            for name in names where name.hasSuffix(".json") {
                documents.append(try String(contentsOfFile: "\(Self.root.path)/\(folder)/\(name)", encoding: .utf8))
            }
        }
        for (document, isValid) in zip(documents, try Self.areValid(documents)) where !isValid {
            Issue.record("\(document)")
        }
    }

    /// Faults that depend on more than their own place, or on bytes, are found only by the reader.
    private static let beyondSchemas = [
        "neither takes precedence", "for one check", "a second ", "256 bytes", "1024 bytes", "is called so",
        "another time than", "another name: this one", "2^53", "the name of a time zone", "no burst where 0",
        "a window of one length", "it only with a pattern", "it only with the default", "it only with \"session\"",
        "\\u0000", "control characters", "with T", "only argument rules",
    ]

    @Test(.enabled(if: hasValidator, "no validator: scripts/schema installs python's jsonschema below .build/schema"))
    func faultyDocumentsAreNot() throws {
        let documents =
            FaultTables.documentFaults.map(\.text)
            + FaultTables.toolFaults.map { document(tool: $0.text) }
            + FaultTables.limitFaults.map { document(limit: $0.text) }
        let faulty = documents.filter { text in
            let lines = faultLines(text, features: .all)
            return !lines.isEmpty && !lines.contains { line in Self.beyondSchemas.contains { line.contains($0) } }
        }
        #expect(faulty.count > 80)
        for (document, isValid) in zip(faulty, try Self.areValid(faulty)) where isValid {
            Issue.record("\(faultLines(document, features: .all)) of \(document)")
        }
    }
}

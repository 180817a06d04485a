import SluicePolicy
import Testing

/// Parses JSON alone.
private func parseJSON(_ bytes: [UInt8]) -> (value: JSONValue?, faults: [String]) {
    var faults = FaultCollector(file: "f")
    let value = JSONParser.parse(bytes, faults: &faults)
    return (value, faults.isEmpty ? [] : faults.collected().faults.map(\.description))
}

private func parseJSON(_ text: String) -> (value: JSONValue?, faults: [String]) { parseJSON(Array(text.utf8)) }

@Suite struct JSONParserTests {
    private static let values: [(text: String, content: JSONValue.Content)] = [
        ("null", .null),
        (" true ", .bool(true)),
        ("false", .bool(false)),
        ("0", .integer(0)),
        ("-0", .integer(0)),
        ("10", .integer(10)),
        ("9223372036854775807", .integer(.max)),
        ("-9223372036854775808", .integer(.min)),
        ("9223372036854775808", .otherNumber("9223372036854775808")),
        ("-9223372036854775809", .otherNumber("-9223372036854775809")),
        ("123456789012345678901234567890", .otherNumber("123456789012345678901234567890")),
        ("1.0", .integer(1)),
        ("10.50", .otherNumber("10.50")),
        ("-0.0", .integer(0)),
        ("1.25e2", .integer(125)),
        ("1.25e1", .otherNumber("1.25e1")),
        ("1e6", .integer(1_000_000)),
        ("1200e-2", .integer(12)),
        ("0e99999", .otherNumber("0e99999")),
        ("9.223372036854775807e18", .integer(.max)),
        ("9.223372036854775808e18", .otherNumber("9.223372036854775808e18")),
        ("-9.223372036854775808e18", .integer(.min)),
        ("-0.5e-3", .otherNumber("-0.5e-3")),
        ("1E400", .otherNumber("1E400")),
        ("1e+2", .integer(100)),
        (#""""#, .string("")),
        (#""a b""#, .string("a b")),
        (#""\"\\\/\b\f\n\r\t""#, .string("\"\\/\u{8}\u{C}\n\r\t")),
        (#""\u0041\u00e9\u20AC\u0000""#, .string("Aé€\0")),
        (#""\ud83d\ude00""#, .string("😀")),
        (#""x\uD834\uDD1Ey""#, .string("x𝄞y")),
        ("\"é€😀\"", .string("é€😀")),
        ("\"\u{7F}\u{2028}\"", .string("\u{7F}\u{2028}")),
        ("[]", .array([])),
        ("[ \t\r\n]", .array([])),
        ("{}", .object([])),
    ]

    @Test(arguments: values)
    func readsValues(text: String, content: JSONValue.Content) {
        let (value, faults) = parseJSON(text)
        #expect(faults == [])
        #expect(value?.content == content)
    }

    private static let brokenTexts: [(text: String, line: String)] = [
        ("", "f:1:1: found the end of the document, expected a JSON value"),
        (" \n ", "f:2:2: found the end of the document, expected a JSON value"),
        ("\u{FEFF}{}", "f:1:1: found a byte order mark, expected a JSON value"),
        ("{} x", "f:1:4: found 'x', expected the end of the document"),
        ("[1] [2]", "f:1:5: found '[', expected the end of the document"),
        ("True", "f:1:1: found 'True', expected a JSON value such as true"),
        ("nul", "f:1:1: found 'nul', expected a JSON value such as null"),
        ("NaN", "f:1:1: found 'NaN', expected a JSON value"),
        ("Infinity", "f:1:1: found 'Infinity', expected a JSON value"),
        ("'a'", "f:1:1: found ''', expected a JSON value (strings stand in double quotes)"),
        ("/no", "f:1:1: found '/', expected a JSON value"),
        ("[1,]", "f:1:4: /1: found ']' after a comma, expected another value, or no comma before ']'"),
        ("[1, // one\n2]", "f:1:5: /1: found a comment, expected another value (JSON has no comments)"),
        ("/* policy */ {}", "f:1:1: found a comment, expected a JSON value (JSON has no comments)"),
        ("{\"a\":1} # end", "f:1:9: found a comment, expected the end of the document (JSON has no comments)"),
        ("[,1]", "f:1:2: /0: found ',', expected a value, or ']'"),
        ("[1 2]", "f:1:4: found '2', expected ',' or ']'"),
        ("[1", "f:1:3: found the end of the document, expected ',' or ']'"),
        ("[1}", "f:1:3: found '}', expected ',' or ']'"),
        ("{\"a\":1,}", "f:1:8: found '}' after a comma, expected another key in double quotes, or no comma before '}'"),
        ("{a:1}", "f:1:2: found 'a', expected a key in double quotes, or '}'"),
        ("{\"a\" 1}", "f:1:6: /a: found '1', expected ':' after a key"),
        ("{\"a\":}", "f:1:6: /a: found '}', expected a value"),
        ("{\"a\":1 \"b\":2}", "f:1:8: found '\"', expected ',' or '}'"),
        ("{\"a\":{\"b/c\":[0,tru]}}", "f:1:16: /a/b~1c/1: found 'tru', expected another value such as true"),
        ("01", "f:1:1: found 01, expected a number without leading zeros"),
        ("-01.5", "f:1:1: found -01, expected a number without leading zeros"),
        ("+1", "f:1:1: found '+', expected a JSON value"),
        (".5", "f:1:1: found '.', expected a JSON value"),
        ("-", "f:1:2: found the end of the document, expected a digit after '-'"),
        ("-x", "f:1:2: found 'x', expected a digit after '-'"),
        ("1.", "f:1:3: found the end of the document, expected a digit after the decimal point"),
        ("1.e3", "f:1:3: found 'e3', expected a digit after the decimal point"),
        ("1e", "f:1:3: found the end of the document, expected a digit after the exponent's 'e'"),
        ("1e+-2", "f:1:4: found '-', expected a digit after the exponent's 'e'"),
        ("0x1F", "f:1:2: found 'x1F', expected the end of the document"),
        ("\"a", "f:1:3: found the end of the document, expected '\"' to end the string that begins at 1:1"),
        ("\"a\nb\"", "f:1:3: found the end of the line, expected '\"' to end the string that begins at 1:1"),
        ("\"a\tb\"", "f:1:3: found a tab within a string, expected \\t"),
        ("\"a\0b\"", "f:1:3: found a control character within a string, expected \\u0000"),
        ("\"\\x41\"", "f:1:3: found 'x41' after a backslash, expected one of \" \\ / b f n r t u"),
        ("\"\\", "f:1:3: found the end of the document after a backslash, expected one of \" \\ / b f n r t u"),
        ("\"\\u12G4\"", "f:1:6: found 'G4', expected four hexadecimal digits after \\u"),
        (
            "\"\\ud83d\"",
            "f:1:2: found the lone surrogate \\ud83d, expected a pair of surrogates such as \\ud83d\\ude00"
        ),
        (
            "\"\\ude00\"",
            "f:1:2: found the lone surrogate \\ude00, expected a pair of surrogates such as \\ud83d\\ude00"
        ),
        (
            "\"\\ud83d\\ud83d\"",
            "f:1:2: found the lone surrogate \\ud83d, expected a pair of surrogates such as \\ud83d\\ude00"
        ),
        ("\u{1}", "f:1:1: found a control character (\\u0001), expected a JSON value"),
        ("é", "f:1:1: found 'é', expected a JSON value"),
        ("\u{A0}1", "f:1:1: found '\u{A0}', expected a JSON value"),
    ]

    @Test(arguments: brokenTexts)
    func refusesBrokenText(text: String, line: String) {
        let (value, faults) = parseJSON(text)
        #expect(value == nil)
        #expect(faults == [line])
    }

    private static let notUTF8: [(bytes: [UInt8], line: String)] = [
        ([0xFF], "f:1:1: found the byte 0xFF, expected text in UTF-8"),
        (Array("{\n\"é".utf8) + [0xC3, 0x28], "f:2:3: found the byte 0xC3, expected text in UTF-8"),
        ([0x22, 0xC0, 0x80, 0x22], "f:1:2: found the byte 0xC0, expected text in UTF-8"),
        ([0x22, 0xED, 0xA0, 0x80, 0x22], "f:1:2: found the byte 0xED, expected text in UTF-8"),
        ([0x22, 0xF4, 0x90, 0x80, 0x80, 0x22], "f:1:2: found the byte 0xF4, expected text in UTF-8"),
        ([0x22, 0xE2, 0x82], "f:1:2: found the byte 0xE2, expected text in UTF-8"),
    ]

    @Test(arguments: notUTF8)
    func refusesWhatIsNotUTF8(bytes: [UInt8], line: String) {
        #expect(parseJSON(bytes).faults == [line])
    }

    @Test func keepsPlacesOfValuesAndKeys() throws {
        let text = "{\n  \"a\": 1,\r\n\t\"é😀\": [true, \"x\"],\r \"c\": {\"d\": null}\n}"
        let value = try #require(parseJSON(text).value)
        guard case .object(let members) = value.content, case .array(let elements) = members[1].value.content,
            case .object(let inner) = members[2].value.content
        else {
            Issue.record("not the expected shape")
            return
        }
        #expect(value.position == SourcePosition(line: 1, column: 1))
        #expect(members.map(\.key) == ["a", "é😀", "c"])
        #expect(
            members.map(\.keyPosition) == [
                .init(line: 2, column: 3), .init(line: 3, column: 2), .init(line: 4, column: 2),
            ])
        #expect(
            members.map(\.value.position) == [
                .init(line: 2, column: 8), .init(line: 3, column: 8), .init(line: 4, column: 7),
            ])
        #expect(elements.map(\.position) == [.init(line: 3, column: 9), .init(line: 3, column: 15)])
        #expect(inner[0].keyPosition == SourcePosition(line: 4, column: 8))
        #expect(inner[0].value.position == SourcePosition(line: 4, column: 13))
    }

    @Test func notesEveryKeyThatStandsTwiceAndReadsOn() throws {
        let (value, faults) = parseJSON("{\"a\":1,\n\"\\u0061\":2,\"b\":{\"c\":0,\"c\":0},\"a\":3}")
        #expect(
            faults == [
                "f:2:1: /a: found a second \"a\", expected each key once (the first is at 1:2)",
                "f:2:23: /b/c: found a second \"c\", expected each key once (the first is at 2:17)",
                "f:2:30: /a: found a second \"a\", expected each key once (the first is at 1:2)",
            ])
        guard case .object(let members)? = value?.content else {
            Issue.record("not an object")
            return
        }
        let contents = members.map(\.value.content)
        #expect(contents.prefix(2) == [.integer(1), .integer(2)])
        #expect(contents.last == .integer(3))
    }

    @Test func nestingIsBounded() {
        let deepest = PolicyBounds.maxDepth
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(parseJSON(nested(deepest)).faults == [])
        let pointer = String(repeating: "/0", count: deepest)
        #expect(
            parseJSON(nested(deepest + 1)).faults
                == ["f:1:33: \(pointer): found arrays and objects nested 33 deep, expected at most 32 levels"])
        #expect(parseJSON(String(repeating: "[", count: 1_000_000)).faults.count == 1)
        #expect(parseJSON(String(repeating: "{\"a\":", count: 1_000_000)).faults.count == 1)
    }

    @Test func sizeIsBounded() {
        let bound = PolicyBounds.maxDocumentBytes
        let fitting = [UInt8](repeating: UInt8(ascii: " "), count: bound - 2) + Array("{}".utf8)
        #expect(parseJSON(fitting).faults == [])
        #expect(
            parseJSON(fitting + [UInt8(ascii: " ")]).faults
                == ["f:1:1: found more than 16777216 bytes, expected a document of at most 16777216 bytes"])
    }
}

import SluicePolicy

/// The document that PolicyLayer recommends for `opencode_run`, verbatim.
let seedDocument = """
    {
      "version": "1",
      "default": "deny",
      "tools": {
        "opencode_run": {
          "limits": [
            {
              "counter": "opencode_run_rate",
              "window": "minute",
              "max": 10,
              "scope": "grant"
            }
          ]
        }
      }
    }

    """

func parse(_ text: String, features: PolicyFeatures = []) throws(PolicyFaults) -> Policy {
    try PolicyDocument.parse(text.utf8, file: "policy.json", features: features)
}

/// The lines that a document's author sees; none if the document is right.
func faultLines(_ text: String, features: PolicyFeatures = []) -> [String] {
    faultLines(Array(text.utf8), features: features)
}

func faultLines(_ bytes: [UInt8], features: PolicyFeatures = []) -> [String] {
    do throws(PolicyFaults) {
        _ = try PolicyDocument.parse(bytes, file: "policy.json", features: features)
        return []
    } catch {
        return error.description.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }
}

/// A document whose only tool, `x`, stands on line 2; its rule begins at column 5.
func document(tool: String, default ruling: String = "deny") -> String {
    "{\"version\":\"1\",\"default\":\"\(ruling)\",\"tools\":{\n\"x\":\(tool)\n}}"
}

/// A document whose only limit, of the tool `x`, is line 2.
func document(limit: String) -> String {
    "{\"version\":\"1\",\"default\":\"deny\",\"tools\":{\"x\":{\"limits\":[\n\(limit)\n]}}}"
}

/// A document whose members besides `version` and `default` are line 2.
func document(members: String, default ruling: String = "deny") -> String {
    "{\"version\":\"1\",\"default\":\"\(ruling)\",\n\(members)\n}"
}

/// A small generator (SplitMix64), so that a failing case comes back with its seed.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

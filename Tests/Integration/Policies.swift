import Foundation

/// The policy documents of these tests.
enum Policies {
    /// The document that this project began with, verbatim.
    static let seed =
        (try? String(contentsOfFile: "\(ShellSession.repository)/deploy/examples/policy.json", encoding: .utf8))
        ?? "there is no such example"

    /// The longest window there is, in seconds: its edge is met once a year.
    static let longWindow = 31_622_400

    /// A tool for each thing that a policy can say.
    static let broad = """
        {
          "version": "1",
          "default": "deny",
          "hide": ["ghost", "run_hidden"],
          "tools": {
            "run": {"limits": [{"counter": "runs", "window": \(longWindow), "max": 10}]},
            "big": {"limits": [{"counter": "bigs", "window": \(longWindow), "max": 100}]},
            "run_hidden": {"limits": [{"counter": "runs", "window": \(longWindow), "max": 10}]},
            "chat": {"rate_limit": {"max": 3, "window": \(longWindow)}},
            "both": {
              "limits": [
                {"counter": "per_session", "window": \(longWindow), "max": 2, "scope": "session"},
                {"counter": "per_grant", "window": \(longWindow), "max": 5}
              ]
            },
            "deploy": {
              "action": "require_approval",
              "limits": [{"counter": "deploys", "window": \(longWindow), "max": 2}]
            },
            "wipe": {"action": "deny", "reason": "Wiping is for people."},
            "mute": {"action": "deny"},
            "free": {},
            "blocked": {
              "limits": [{"counter": "none", "window": \(longWindow), "max": 0, "on_deny": "Not in this life."}]
            },
            "a/b~c": {"limits": [{"counter": "x/y", "window": \(longWindow), "max": 1}]}
          }
        }
        """

    /// A limit over all tools beside a tool's own.
    static let total = """
        {
          "version": "1",
          "default": "allow",
          "all_tools": {"limits": [{"counter": "everything", "window": \(longWindow), "max": 4}]},
          "tools": {
            "run": {"limits": [{"counter": "runs", "window": \(longWindow), "max": 3}]}
          }
        }
        """

    /// One limit of so many in so many seconds.
    static func rate(_ max: Int, per seconds: Int) -> String {
        """
        {"version": "1", "default": "deny",
         "tools": {"run": {"limits": [{"counter": "runs", "window": \(seconds), "max": \(max)}]}}}
        """
    }

    /// Twenty faults, each in a tool of its own.
    static let twentyFaults = """
        {"version": "1", "default": "deny", "tools": {
        \((1...20).map { "\"tool\($0)\": {\"actoin\": \"allow\"}" }.joined(separator: ",\n"))
        }}
        """
}

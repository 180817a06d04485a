import SluiceTerminal
import Support
import Testing

@Suite struct PolicyShowTests {
    private static let document = """
        {"version": "1", "default": "deny", "hide": ["secret"],
         "all_tools": {"limits": [{"counter": "all", "window": "hour", "max": 100}]},
         "tools": {
           "run": {"limits": [{"counter": "runs", "window": "minute", "max": 10, "on_deny": "Slow\\u202e down."}],
                   "rate_limit": "5/90s"},
           "ask": {"action": "require_approval", "reason": "Ask Ann."},
           "off": {"action": "deny"}}}
        """

    private static func show(_ arguments: String..., style: Style = .plain) async throws -> ControlRun {
        let folder = try TemporaryFolder()
        let path = try folder.write(document, to: "policy.json")
        var run = await ControlRun.of(["policy", "show", path] + arguments, style: style)
        run.output = run.output.replacing(path, with: "policy.json")
        return run
    }

    @Test func everyToolAndLimitAndMessage() async throws {
        let run = try await Self.show()
        #expect(run.errors == "")
        #expect(run.exitCode == 0)
        #expect(
            run.output == """
                policy.json: 3 tools, 3 limits, default deny, 1 hidden

                tool         action            counter     max  window      algorithm     scope    outage  mode
                ask          require_approval  -             -  -           -             -        -       -
                off          deny              -             -  -           -             -        -       -
                run          allow             runs         10  minute      fixed_window  grant    local   enforce
                run          allow             rate_limit    5  90 seconds  fixed_window  session  local   enforce
                secret       hidden            -             -  -           -             -        -       -
                (any other)  deny              -             -  -           -             -        -       -
                (all tools)  -                 all         100  hour        fixed_window  grant    local   enforce

                tool         denied by         what the agent is told
                ask          require_approval  Ask Ann.
                off          deny              off is not allowed by this grant's policy.
                run          runs              Slow\\u202e down.
                run          rate_limit        run is limited to 5 calls per 90 seconds per session.
                secret       hidden            secret is not allowed by this grant's policy.
                (any other)  deny              NAME is not allowed by this grant's policy.
                (all tools)  all               This grant is limited to 100 calls per hour over all tools.

                """)
    }

    @Test func oneToolShowsWhatItsCallMeets() async throws {
        let run = try await Self.show("--tool", "off")
        #expect(
            run.output == """
                policy.json: 3 tools, 3 limits, default deny, 1 hidden

                tool         action  counter  max  window  algorithm     scope  outage  mode
                off          deny    -          -  -       -             -      -       -
                (all tools)  -       all      100  hour    fixed_window  grant  local   enforce

                tool         denied by  what the agent is told
                off          deny       off is not allowed by this grant's policy.
                (all tools)  all        This grant is limited to 100 calls per hour over all tools.

                """)
        let unlisted = try await Self.show("--tool", "nix")
        #expect(unlisted.output.contains("\nnix (not listed)  deny    -"))
        #expect(unlisted.output.contains("nix is not allowed by this grant's policy.\n"))
    }

    @Test func actionsHaveColours() async throws {
        let run = try await Self.show(style: Style(isColoured: true))
        #expect(run.output.contains("\u{1B}[31mdeny\u{1B}[0m"))
        #expect(run.output.contains("\u{1B}[33mrequire_approval\u{1B}[0m"))
    }

    @Test func jsonHasAllOfIt() async throws {
        let run = try await Self.show("--tool", "run", "--json")
        #expect(
            run.output == """
                {"source":"policy.json","grants":null,"documents":[{"name":null,"mode":"enforce","default":"deny",\
                "on_deny":null,"hide":["secret"],"tools":[{"tool":"run","listed":true,"pattern":null,"each_tool":false,\
                "hours":null,"mode":"enforce","action":"allow","message":null,\
                "arguments_checked_by_gateway":false,"limits":[{"counter":"runs","algorithm":"fixed_window","max":10,\
                "window":"60s","timezone":null,"burst":null,"hold_s":null,"scope":"grant","across_grants":false,"on_outage":"local",\
                "mode":"enforce","counts":"cost","precision":"exact","unit":null,"rule":"/tools/run/limits/runs","message":"Slow\\u202e down."},\
                {"counter":"rate_limit","algorithm":"fixed_window","max":5,"window":"90s","timezone":null,"burst":null,"hold_s":null,\
                "scope":"session","across_grants":false,"on_outage":"local","mode":"enforce","counts":"cost","precision":"exact","unit":null,\
                "rule":"/tools/run/rate_limit","message":"run is limited to 5 calls per 90 seconds per session."}]}],\
                "groups":[],"all_tools":[{"counter":"all","algorithm":"fixed_window","max":100,"window":"3600s","timezone":null,"burst":null,\
                "hold_s":null,"scope":"grant","across_grants":false,"on_outage":"local","mode":"enforce","counts":"cost","precision":"exact","unit":null,\
                "rule":"/all_tools/limits/all",\
                "message":"This grant is limited to 100 calls per hour over all tools."}],\
                "servers":[],"must_reserve":[]}]}

                """)
        let all = try await Self.show("--json").json()
        let documents = try #require(all["documents"] as? [[String: Any]])
        let tools = try #require(documents.first?["tools"] as? [[String: Any]])
        #expect(tools.map { $0["tool"] as? String } == ["ask", "off", "run", "secret"])
    }

    /// Columns for what some limit has; a sidecar may know more of the language than is read from files.
    @Test func everyPartOfALimit() async throws {
        let document = """
            {"version": "1", "default": "deny", "tools": {"x": {"limits": [
              {"counter": "tokens", "window": "minute", "max": 10, "burst": 25, "algorithm": "token_bucket"},
              {"counter": "slots", "max": 3, "algorithm": "concurrency", "on_outage": "deny"},
              {"counter": "smooth", "window": "day", "timezone": "Europe/Berlin", "max": 0, "mode": "shadow",
               "algorithm": "sliding_window", "scope": "attribute:team", "across_grants": true}]}}}
            """
        let stub = try await StubSidecar { words in
            words != ["POLICY", "DOCUMENTS"]
                ? nil
                : StubSidecar.map([
                    ("source", StubSidecar.text("p.json")), ("single", StubSidecar.integer(1)),
                    ("files", StubSidecar.map([("policy.json", StubSidecar.text(document))])),
                ])
        }
        let run = await ControlRun.of("policy", "show", "--socket", stub.path, "--tool", "x")
        #expect(
            run.output == """
                p.json: 1 tool, 3 limits, default deny

                tool  action  counter  max  window               algorithm       burst  hold       scope           across grants  outage  mode
                x     allow   tokens    10  minute               token_bucket       25  -          grant           -              local   enforce
                x     allow   slots      3  at once              concurrency         -  5 minutes  grant           -              deny    enforce
                x     allow   smooth     0  day (Europe/Berlin)  sliding_window      -  -          attribute:team  yes            local   shadow

                tool  denied by  what the agent is told
                x     tokens     x is limited to 10 calls per minute (in bursts of up to 25) for this grant.
                x     slots      x is limited to 3 calls at once for this grant.

                checks of x must say RESERVE, else they are BADARG

                """)
        let json = try await ControlRun.of("policy", "show", "--socket", stub.path, "--json").json()
        let documents = json["documents"] as? [[String: Any]]
        #expect(documents?.first?["must_reserve"] as? [String] == ["x"])
        let tools = documents?.first?["tools"] as? [[String: Any]]
        let limits = try #require(tools?.first?["limits"] as? [[String: Any]])
        #expect(limits.map { $0["window"] as? String } == ["60s", nil, "day"])
        #expect(limits.map { $0["timezone"] as? String } == [nil, nil, "Europe/Berlin"])
        #expect(limits.map { $0["burst"] as? Int } == [25, nil, nil])
        #expect(limits.map { $0["hold_s"] as? Int } == [nil, 300, nil])
    }

    // MARK: - Folders

    private static func folder() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        _ = try folder.write(#"{"version": "1", "default": "allow"}"#, to: "open.json")
        _ = try folder.write(#"{"version": "1", "default": "deny", "tools": {"run": {}}}"#, to: "shut.json")
        _ = try folder.write(#"{"bob": "shut", "ann": "open"}"#, to: "grants.json")
        return folder
    }

    @Test func aFolderShowsItsGrantsAndEachDocument() async throws {
        let folder = try Self.folder()
        let run = await ControlRun.of("policy", "show", folder.path)
        #expect(
            run.output == """
                grant        policy
                ann          open
                bob          shut
                (any other)  no policy: denied

                open: 0 tools, 0 limits, default allow

                tool         action  counter  max  window  algorithm  scope  outage  mode
                (any other)  allow   -          -  -       -          -      -       -

                shut: 1 tool, 0 limits, default deny

                tool         action  counter  max  window  algorithm  scope  outage  mode
                run          allow   -          -  -       -          -      -       -
                (any other)  deny    -          -  -       -          -      -       -

                tool         denied by  what the agent is told
                (any other)  deny       NAME is not allowed by this grant's policy.

                """)
    }

    @Test func aGrantShowsItsOwn() async throws {
        let folder = try Self.folder()
        let ann = await ControlRun.of("policy", "show", folder.path, "--grant", "ann")
        #expect(ann.output.hasPrefix("grant  policy\nann    open\n\nopen: 0 tools"))
        #expect(!ann.output.contains("shut"))
        let carl = await ControlRun.of("policy", "show", folder.path, "--grant", "carl")
        #expect(carl.output == "grant  policy\ncarl   no policy: denied\n")
        #expect(carl.exitCode == 0)
        let json = try await ControlRun.of("policy", "show", folder.path, "--grant", "bob", "--json").json()
        #expect(json["grants"] as? [[String: String]] == [["grant": "bob", "policy": "shut"]])
        #expect((json["documents"] as? [[String: Any]])?.map { $0["name"] as? String } == ["shut"])
    }

    @Test(arguments: ["show", "diff", "check"])
    func helpHasAnExample(command: String) async {
        let run = await ControlRun.of("policy", command, "--help")
        #expect(run.exitCode == 0)
        #expect(run.output.contains("sluicectl policy \(command) "))
        #expect(run.output.contains("Exit codes"))
    }
}

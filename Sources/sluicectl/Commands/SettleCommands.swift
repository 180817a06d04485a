import ArgumentParser
import SluiceClient
import SluiceTerminal

/// Arguments common to `commit`, `cancel` and `release`.
struct SettleArguments: ParsableArguments {
    @Argument(help: "The grant that has the reservation.")
    var grant: String
    @Argument(help: "The reservation, as check --reserve prints it.")
    var reservation: String
    @Flag(help: "One line of JSON instead of text.")
    var json = false
}

struct CommitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "commit",
        abstract: "Settles a reservation to what the call really cost.",
        discussion: """
            What was reserved beyond it is given back; a higher cost is charged even past the maximum. It happens once, \
            through any sidecar.

            Examples:
              sluicectl check alice-laptop opencode_run --cost 5 --reserve
              sluicectl commit alice-laptop 219168da3fb162db175a846fe0325ec5 2

            \(SettleReport.exitCodes)
            """)

    @OptionGroup var sidecar: SidecarOptions
    @OptionGroup var settle: SettleArguments
    @Argument(help: ArgumentHelp("What the call cost, 0 to 10^12.", valueName: "n"))
    var cost: Int64

    func validate() throws {
        guard cost >= 0 else { throw ValidationError("<n>: found \(cost), expected a whole number from 0 to 10^12") }
    }

    func run() async throws {
        try await sidecar.settle(json: settle.json, "committed") { sluice throws(SluiceError) in
            try await sluice.commit(grant: settle.grant, reservation: settle.reservation, cost: cost)
        }
    }
}

struct CancelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cancel",
        abstract: "Gives back all that a reservation charged, for a call that was never made.",
        discussion: """
            Example:
              sluicectl cancel alice-laptop 219168da3fb162db175a846fe0325ec5

            \(SettleReport.exitCodes)
            """)

    @OptionGroup var sidecar: SidecarOptions
    @OptionGroup var settle: SettleArguments

    func run() async throws {
        try await sidecar.settle(json: settle.json, "cancelled") { sluice throws(SluiceError) in
            try await sluice.cancel(grant: settle.grant, reservation: settle.reservation)
        }
    }
}

struct ReleaseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "release",
        abstract: "Frees the slot of a call that has ended, for limits that count calls in progress.",
        discussion: """
            Example:
              sluicectl release alice-laptop 219168da3fb162db175a846fe0325ec5

            \(SettleReport.exitCodes)
            """)

    @OptionGroup var sidecar: SidecarOptions
    @OptionGroup var settle: SettleArguments

    func run() async throws {
        try await sidecar.settle(json: settle.json, "released") { sluice throws(SluiceError) in
            try await sluice.release(grant: settle.grant, reservation: settle.reservation)
        }
    }
}

/// The output of `commit`, `cancel` and `release`.
struct SettleReport {
    static let exitCodes =
        "Exit codes: 0 done, 1 nothing was changed: the grant has no such reservation, or it was settled before, "
        + "2 the sidecar could not be asked, 64 wrong usage."

    /// What was done.
    let word: String
    let isDone: Bool

    func text(_ style: Style) -> String {
        isDone
            ? style.apply(.good, to: word) + "\n"
            : style.apply(.caution, to: "nothing changed")
                + ": the grant has no such reservation, or it was settled before\n"
    }

    var json: JSONText { ["done": .boolean(isDone)] }
}

extension SidecarOptions {
    /// Settles, shows what became of it, and ends with exit code 1 if nothing was changed.
    fileprivate func settle(
        json: Bool, _ word: String, _ settlement: (SluiceConnection) async throws(SluiceError) -> Bool
    ) async throws {
        let console = Console.current
        let report = SettleReport(word: word, isDone: try await ask(console, settlement))
        console.write(json ? report.json.line + "\n" : report.text(console.style))
        if !report.isDone { throw ExitCode.denied }
    }
}

/// What can be asked of a sidecar, over one connection or over one that is opened again.
public protocol SluiceCommands: Sendable {
    /// Sends any command, its name first: `["INFO", "server"]`.
    ///
    /// - Parameter isRepeatable: whether it does no harm to run it twice.
    /// - Throws: `SluiceError.server` if Sluice answers with an error, `badRequest` if there is no word to send.
    func send(_ arguments: [String], isRepeatable: Bool) async throws(SluiceError) -> Reply
}

extension SluiceCommands {
    /// Sends any command, once.
    public func send(_ arguments: [String]) async throws(SluiceError) -> Reply {
        try await send(arguments, isRepeatable: false)
    }

    /// Asks whether `grant` may call `tool`, and counts the call if it may.
    ///
    /// - Throws: `SluiceError.server` with `BADARG` if a name or an option is wrong, with `BUSY` if Sluice has too much
    ///   to do; `closed`, `timedOut` and `cancelled` leave it open whether the call was counted.
    public func check(
        grant: String, tool: String, options: CheckOptions = CheckOptions()
    ) async throws(SluiceError) -> Decision {
        try Decision(await send(["CHECK", grant, tool] + options.arguments, isRepeatable: options.id != nil))
    }

    /// Asks whether that check would pass, and counts nothing.
    ///
    /// - Throws: as `check` does; `BADARG` if `options` ask for a reservation or have an id.
    public func peek(
        grant: String, tool: String, options: CheckOptions = CheckOptions()
    ) async throws(SluiceError) -> Decision {
        try Decision(await send(["PEEK", grant, tool] + options.arguments, isRepeatable: true))
    }

    /// Settles a reservation to the actual cost of the call, 0 to 10^12; a higher cost is charged even past the
    /// maximum.
    ///
    /// - Returns: whether it was done; false if the grant has no such reservation, or it was settled before. - Throws:
    /// `SluiceError.server` with `BUSY` while Redis is unavailable and the sidecar does not know the reservation: send
    /// it again then.
    public func commit(
        grant: String, reservation: String, cost: Int64
    ) async throws(SluiceError) -> Bool {
        try await send(["COMMIT", grant, reservation, String(cost)], isRepeatable: true).integer == 1
    }

    /// Gives back everything that a reservation charged, for a call that was never made. Otherwise like `commit`.
    public func cancel(grant: String, reservation: String) async throws(SluiceError) -> Bool {
        try await send(["CANCEL", grant, reservation], isRepeatable: true).integer == 1
    }

    /// Frees the slot of a call that has ended, and keeps its cost. Otherwise like `commit`.
    public func release(grant: String, reservation: String) async throws(SluiceError) -> Bool {
        try await send(["RELEASE", grant, reservation], isRepeatable: true).integer == 1
    }

    /// Charges what a call cost, 0 to 10^12, whatever the maximum says: for costs that are known only afterwards.
    ///
    /// - Parameter options: the server, session, attributes and id; other options are not sent.
    /// - Returns: as for a check; `allowed` says whether the cost fitted.
    /// - Throws: as `check` does.
    public func charge(
        grant: String, tool: String, cost: Int64, options: CheckOptions = CheckOptions()
    ) async throws(SluiceError) -> Decision {
        try Decision(
            await send(
                ["CHARGE", grant, tool, String(cost)] + options.callerArguments, isRepeatable: options.id != nil))
    }

    /// Gives back what calls were charged, 0 to 10^12, in open windows and never below 0. Otherwise like `charge`.
    public func refund(
        grant: String, tool: String, cost: Int64, options: CheckOptions = CheckOptions()
    ) async throws(SluiceError) -> Decision {
        try Decision(
            await send(
                ["REFUND", grant, tool, String(cost)] + options.callerArguments, isRepeatable: options.id != nil))
    }
}

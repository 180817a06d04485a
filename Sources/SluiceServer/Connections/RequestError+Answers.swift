import SluiceEngine
import SluicePolicy
import SluiceProtocol

/// What callers are answered instead of a decision.
extension RequestError {
    static func busy(_ cause: Busy) -> RequestError { RequestError(.busy, cause.advice) }
    static let throttleIsOff = RequestError(
        .error, "CL.THROTTLE is off, start sluiced with --cl-throttle to use it")
    static let mustReserve = RequestError(
        .badArgument,
        "this tool counts calls that are going on, send CHECK with RESERVE, and RELEASE at its end")
    static let forOperators = RequestError(
        .noPermission, "this command is for operators, call it as the user that runs sluiced or as root")
    static let tooManyTails = RequestError(
        .busy, "\(ServerBounds.maxTails) connections listen to decisions already, close one of them")
    static let otherArguments = RequestError(
        .badArgument, "this ID was used for a check with other arguments, send the same ones or another ID")
    static func notSettled(_ fault: Limiter.SettleFault) -> RequestError {
        switch fault {
        case .tooMuch:
            RequestError(
                .tooBig,
                "a limit of this tool cannot count that much (a token bucket: 2^53 over its window in ms), commit less")
        case .storeFault:
            RequestError(
                .error,
                "redis could not settle this reservation, nothing was changed: see the log of sluiced, send it again")
        }
    }
    static func cannotClear(_ reason: String) -> RequestError {
        RequestError(
            .busy,
            "nothing was cleared: counting is not shared (\(reason)), and what was cleared here alone would come back; send it "
                + "again when sluicectl status says that counting is shared")
    }
    static let clearIsUnclear = RequestError(
        .busy, "redis did not answer in time: the counters may be cleared or not, send it again")
    static func cannotOverride(_ reason: String) -> RequestError {
        RequestError(
            .busy,
            "nothing was changed: counting is not shared (\(reason)), and other sidecars would not hear of it; overrides that hold "
                + "go on till their end; send it again when sluicectl status says that counting is shared")
    }
    static let overrideIsUnclear = RequestError(
        .busy, "redis did not answer in time: the override may hold or not, look with OVERRIDE and send it again")
    static let tooManyOverrides = RequestError(
        .tooBig,
        "\(EngineBounds.maxOverrides) overrides hold already, which is the most: end one with OVERRIDE grant rule OFF, or change "
            + "the policy")
    static func overrideFault(_ reason: String) -> RequestError {
        RequestError(.error, "redis could not change the list of overrides, nothing was changed: \(reason.onOneLine)")
    }
    static let storeUnavailable = RequestError(
        .busy, "redis is unavailable and this sidecar does not know the reservation, send it again in a moment")
}

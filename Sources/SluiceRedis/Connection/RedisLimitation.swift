/// Something that this server, or this user, does not let Sluice do: counting goes on, with a loss that operators should
/// know.
struct RedisLimitation: Equatable {
    /// What is lost, and what to do, in one sentence.
    let loss: String
    /// What it follows from: Redis's own words, or a setting of Redis.
    let reason: String

    /// For `INFO`.
    var description: String { "\(loss) (\(reason))" }
}

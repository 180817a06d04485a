import Logging
import NIOCore
import SluiceEngine
import SluicePolicy
import SluiceProtocol

/// The shell around the limiter: owns it on one event loop and carries events to it and its answers back. It decides
/// nothing.
///
/// Confined to its event loop, so it needs no lock.
final class LimiterHost {
    let eventLoop: any EventLoop
    let logger: Logger
    /// Checks of one connection that were read and are not yet decided.
    private var gathered = CheckBatch()
    /// Refilled for each call of `CL.THROTTLE`, so that a known key allocates nothing.
    private var identity = Identity()
    /// The system's generator: its numbers cannot be predicted.
    private var random = SystemRandomNumberGenerator()
    var limiter: PartitionedLimiter
    /// One for each partition; none if there is no store.
    let links: [any CounterStore]
    private var linkDelegates: [LinkDelegate] = []
    /// Set if there is a state folder.
    let stateWriter: StateWriter?
    /// Called when the state is closed; set while that is in progress.
    var whenStateIsClosed: (() -> Void)?
    /// Whether the last unwritten state could not be written at the end.
    var isStateGivenUp = false
    private(set) var connections: ConnectionTable
    /// The doors beside the socket; their checks have slots from `firstDoorSlot` on.
    private(set) var doors: [any Door] = []
    static let firstDoorSlot = 1 << 24
    /// That of operators' clears.
    static let operatorSlot = 1 << 25
    /// Clears that wait for the store.
    var clears = NumberedTable<(Limiter.Completion.Answer) -> Void>()
    /// Set while decisions are logged, or somebody listens to them.
    var decisionLog: DecisionLog?
    var memory: MemoryBudget
    /// Whether `CL.THROTTLE` is on: its keys need no policy, so any caller may create any number of them.
    let answersThrottle: Bool
    /// Whether memory must be relieved at the end of the turn.
    var wantsRelief = false
    var sweptPart = 0
    /// When a connection that stalled was last logged.
    var stallLoggedNs: Int64?
    var freedMemory = FreedMemory()
    /// Product and version of the store that was last connected; empty before.
    var storeDescription = ""
    /// Since when checks are not counted in the store; nil if they are, or if there is none.
    private(set) var unsharedSince: ClockReading?
    /// Since when they are; nil if they are not.
    private(set) var sharedSince: ClockReading?
    /// What the store does not let the link do.
    var limitations: [String] {
        // Partitions on one server have the same.
        links.flatMap(\.limitations).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    private var finished: [Limiter.Completion] = []
    var turns = LoopTurns()
    let look: any SocketLook
    var isTurnsEndScheduled = false
    var wantsPump = false
    /// Whether the loop has looked at its sockets, so that what was left of earlier turns goes on at the end of this one.
    var hasLooked = false
    var isGoingOn = false
    /// Whether the limiter wants a tick once the sockets have been read.
    var ticksAfterTurn = false
    /// Operators' questions for counters.
    var surveys = SurveyQueue()
    private var tick: Scheduled<Void>?
    private var tickNs = Int64.max
    var isStopped = false
    /// Whether new connections are closed as soon as they have their answers.
    private(set) var isDraining = false
    private var whenShared: [() -> Void] = []
    /// Which changes of the store are logged.
    var flaps = FlapDamper()
    var flapTick: Scheduled<Void>?
    /// Called when something was logged that operators should know.
    var whenNoticed: () -> Void = {}
    private var whenDrained: (() -> Void)?
    /// Called once every block is given back; set while that is in progress.
    var whenGivenBack: (() -> Void)?
    private var lastConnectionID: Int64 = 0

    init(
        limiter: PartitionedLimiter, links: [any CounterStore], stateWriter: StateWriter? = nil,
        maxConnections: Int = ServerBounds.maxConnections, memoryBytes: Int = ServerBounds.defaultMemoryBytes,
        answersThrottle: Bool = false,
        look: (any SocketLook)? = nil, eventLoop: any EventLoop,
        logger: Logger
    ) {
        self.look = look ?? LoopLook(eventLoop: eventLoop)
        self.stateWriter = stateWriter
        connections = ConnectionTable(capacity: maxConnections)
        memory = MemoryBudget(limitBytes: memoryBytes)
        self.answersThrottle = answersThrottle
        self.limiter = limiter
        self.links = links
        self.eventLoop = eventLoop
        self.logger = logger
        precondition(links.isEmpty || links.count == limiter.partitionCount)
        linkDelegates = links.indices.map { LinkDelegate(self, partition: $0) }
        for (link, delegate) in zip(links, linkDelegates) { link.delegate = delegate }
        self.look.whenLooked = { [unowned self] in looked() }
    }

    func start() {
        look.open()
        let now = SystemClock.now()
        if !links.isEmpty { unsharedSince = now }
        limiter.tick(now: now)
        pump()
    }

    /// Answers waiting checks, and releases the link and the timer.
    func stop() {
        limiter.drain(now: SystemClock.now())
        pump()
        isStopped = true
        tick?.cancel()
        flapTick?.cancel()
        look.close()
        dropHeld()
        for link in links {
            link.disconnect()
            link.listen(.close)
        }
    }

    // MARK: - Policies

    private(set) var policyHistory = DocumentHistory()
    /// That of the gateways file.
    var gatewaysHistory = DocumentHistory()

    func replacePolicies(_ policies: PolicySet) {
        limiter.replacePolicies(policies)
        policyHistory.reloaded()
    }

    func rejectPolicies(reason: String) {
        policyHistory.rejected(reason)
    }

    // MARK: - The socket

    var socketHistory = SocketHistory()

    /// Calls back once checks are counted in the store; never if that does not happen.
    func onShared(_ body: @escaping () -> Void) {
        if limiter.isShared { body() } else { whenShared.append(body) }
    }

    // MARK: - Checks

    var gatheredCount: Int { gathered.count }
    /// Whether the gathered checks must be decided before there is room for more.
    var hasGatheredAll: Bool { gathered.count == CheckBatch.capacity }

    /// Adds a check that was read; `decideGathered` decides it with the others.
    func gather(_ check: CheckRequest, _ action: CheckAction = .check, in input: ByteBuffer) {
        gathered.append(check, extras: extras(of: check, action, in: input)) { identify(check, in: input, as: &$0) }
        decisionLog?.gather(check, action, in: input)
    }

    /// Decides the gathered checks for the connection in `slot`, in order. A waiting check is answered later through
    /// `ConnectionHandler.complete` of that connection, under the number that `next` returned for it.
    func decideGathered(
        slot: Int, now: ClockReading, next: () -> UInt32, decided: (Limiter.CheckOutcome) -> Void
    ) {
        // A local variable: a class's property would be retained again for each call that it is passed to.
        var checks = CheckBatch()
        swap(&checks, &gathered)
        limiter.find(&checks.identities, now: now)
        let log = decisionLog
        var answeredCount = 0
        for index in 0..<checks.count {
            let check = checks[index]
            let ticket = Ticket(slot: slot, number: next())
            let outcome = limiter.check(
                checks.identities, index, cost: check.cost, isPeek: check.isPeek, wantsTrace: check.wantsTrace,
                extras: checks.extras(of: index), ticket: ticket, now: now)
            if case .answered = outcome { answeredCount += 1 }
            log?.decided(index, outcome, ticket, door: doorName(ofSlot: slot), now: now)
            follow(outcome, slot: slot)
            decided(outcome)
        }
        limiter.noteAnswered(answeredCount, now: now)
        if answeredCount > 0, limiter.wantsLeases { schedulePump() }
        log?.endGathered()
        checks.removeAll()
        swap(&checks, &gathered)
    }

    private func identify(_ check: CheckRequest, in input: ByteBuffer, as identity: inout Identity) {
        let bytes = input.readableBytesUInt8Span
        identity.fill(
            grant: bytes.extracting(check.grant), tool: bytes.extracting(check.tool), approved: check.approved)
        if let server = check.server, limiter.counted.servers { identity.append(server: bytes.extracting(server)) }
        if let session = check.session, limiter.counted.sessions {
            identity.append(session: bytes.extracting(session))
        }
        if check.attributes.isEmpty { return }
        for name in limiter.counted.attributes {
            for attribute in check.attributes where name.elementsEqual(input.bytes(ofArgument: attribute.name)) {
                identity.append(
                    attribute: bytes.extracting(attribute.name), value: bytes.extracting(attribute.value))
            }
        }
    }

    /// Decides a call of `CL.THROTTLE`; a waiting one is answered like a waiting check.
    func check(
        _ throttle: Throttle, cost: Int64, isPeek: Bool, reserves: Bool = false, slot: Int, number: UInt32,
        now: ClockReading
    ) -> Limiter.CheckOutcome {
        identity.fill(throttle)
        let extras =
            reserves ? CheckOptions(reservation: ReservationID(using: &random), id: nil, argumentsHash: 0) : nil
        let outcome = limiter.check(
            identity, cost: cost, isPeek: isPeek, wantsTrace: false, extras: extras,
            ticket: Ticket(slot: slot, number: number), now: now)
        if case .answered = outcome { limiter.noteAnswered(1, now: now) }
        follow(outcome, slot: slot)
        return outcome
    }

    /// Settles a reservation; a waiting settlement is answered like a waiting check.
    func settle(
        _ request: SettleRequest, in input: ByteBuffer, slot: Int, number: UInt32, now: ClockReading
    ) -> Limiter.SettleOutcome {
        let settlement: Batch.Settlement =
            switch request.action {
            case .commit(let cost): .commit(cost: cost)
            case .cancel: .cancel
            case .release: .release
            }
        let outcome = limiter.settle(
            grant: Array(input.bytes(ofArgument: request.grant)),
            reservation: input.bytes(ofArgument: request.reservation), settlement,
            ticket: Ticket(slot: slot, number: number), now: now)
        decisionLog?.settled(
            request, in: input, outcome, Ticket(slot: slot, number: number), door: doorName(ofSlot: slot), now: now)
        // Operations for the store are sent even if the answer is known at once.
        if case .waiting = outcome { expectAnswer(slot) } else { schedulePump() }
        return outcome
    }

    /// Does the work that follows a decided or a waiting check.
    private func follow(_ outcome: Limiter.CheckOutcome, slot: Int) {
        if case .waiting = outcome { expectAnswer(slot) } else if stateWriter != nil { recordSoon() }
    }

    private func expectAnswer(_ slot: Int) {
        if slot < Self.firstDoorSlot { connections.expectAnswer(slot) }
        schedulePump()
    }

    /// The uncommon options of a check; nil if it has none.
    private func extras(of check: CheckRequest, _ action: CheckAction, in input: ByteBuffer) -> CheckOptions? {
        if case .check = action, !check.reserve, check.id == nil { return nil }
        return CheckOptions(
            reservation: check.reserve ? ReservationID(using: &random) : nil,
            id: check.id.map { Array(input.bytes(ofArgument: $0)) },
            argumentsHash: check.id == nil ? 0 : check.argumentsHash(action, in: input), action: action)
    }

    // MARK: - Connections

    /// - Returns: the slot of the door's checks.
    func add(_ door: any Door) -> Int {
        doors.append(door)
        return Self.firstDoorSlot + doors.count - 1
    }

    /// nil if there is no room for another connection.
    func add(_ connection: any HostedConnection) -> Int? {
        if !hasMemory { relieveMemory() }
        guard hasMemory else {
            memory.refused += 1
            return nil
        }
        return connections.add(connection)
    }

    var isFull: Bool { connections.count >= connections.capacity }

    private var hasMemory: Bool {
        memory.hasRoom(for: ServerBounds.bytesPerConnection, tableBytes: limiter.heldBytes)
    }

    func remove(slot: Int) {
        connections.remove(slot)
        reportDrained()
    }

    /// A number that is unique among this process' connections.
    func nextConnectionID() -> Int64 {
        lastConnectionID += 1
        return lastConnectionID
    }

    /// Takes no more requests, waits for what is in flight, and calls back when every connection has closed.
    /// Connections still open at the drain's limit are closed.
    func drain(_ completion: @escaping () -> Void) {
        whenDrained = completion
        isDraining = true
        for connection in connections.all { connection.drain() }
        reportDrained()
        guard whenDrained != nil else { return }
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(ServerBounds.drainLimitNs)) { [self] in
            for connection in connections.all { connection.cutOff() }
        }
    }

    private func reportDrained() {
        guard connections.count == 0, let completion = whenDrained else { return }
        whenDrained = nil
        completion()
    }

    // MARK: - The pump

    /// Checks that arrive in the same turn of the event loop are sent together.
    func schedulePump() {
        wantsPump = true
        scheduleTurnsEnd()
    }

    /// Does what the limiter wants after an event.
    func pump() {
        wantsPump = false
        guard !isStopped else { return }
        let now = SystemClock.now()
        while let next = limiter.nextCommand(now: now) {
            guard !links.isEmpty else { continue }
            let link = links[next.partition]
            switch next.command {
            case .connect: link.connect()
            case .disconnect:
                dropHeld(next.partition)
                link.disconnect()
            case .send(let batch): send(batch, to: next.partition)
            case .listening(let command): link.listen(command)
            }
        }
        deliver()
        let notices = limiter.takeNotices()
        for notice in notices { log(notice, now: now) }
        if !notices.isEmpty { whenNoticed() }
        noteSharing(now: now)
        if limiter.wantsLook { look.request() }
        scheduleTick(now: now)
        recordSoon()
    }

    private func noteSharing(now: ClockReading) {
        guard limiter.isSharedNow else {
            sharedSince = nil
            if unsharedSince == nil, !links.isEmpty { unsharedSince = now }
            return
        }
        unsharedSince = nil
        if sharedSince == nil { sharedSince = now }
        guard !whenShared.isEmpty else { return }
        for body in whenShared { body() }
        whenShared = []
    }

    private func deliver() {
        limiter.takeCompletions(into: &finished)
        // A local variable: a class's property would be copied before it is passed on.
        let finished = finished
        if let log = decisionLog, !finished.isEmpty { self.log(finished, log) }
        let completions = finished.span
        for index in completions.indices {
            let ticket = completions[index].ticket
            if ticket.slot == Self.operatorSlot {
                clears.remove(ticket.number)?(completions[index].answer)
                continue
            }
            if ticket.slot >= Self.firstDoorSlot {
                doors[ticket.slot - Self.firstDoorSlot].complete(ticket.number, completions[index].answer)
                continue
            }
            connections.noteAnswer(ticket.slot)
            if let handler = connections.handler(ticket.slot) {
                handler.complete(ticket.number, completions[index].answer)
            } else {
                connections[ticket.slot]?.complete(ticket.number, completions[index].answer)
            }
        }
        for index in completions.indices where completions[index].ticket.slot < Self.firstDoorSlot {
            let slot = completions[index].ticket.slot
            if let handler = connections.handler(slot) {
                handler.flushCompleted()
            } else {
                connections[slot]?.flushCompleted()
            }
        }
    }

    /// Keeps one timer, for the earliest time that the limiter wants. One that fires early costs less than cancelling
    /// one for every check.
    private func scheduleTick(now: ClockReading) {
        let next = limiter.nextTickNs()
        guard next < tickNs else { return }
        tick?.cancel()
        tickNs = next
        let delay = TimeAmount.nanoseconds(max(0, next - now.monotonicNs))
        tick = eventLoop.assumeIsolated().scheduleTask(in: delay) { [self] in
            tickNs = Int64.max
            // Tasks run after the sockets: everything that the last look found has been handled.
            limiter.tick(now: SystemClock.now(), lookedNs: turns.beganNs)
            pump()
        }
    }
}

/// A ticket is a connection's or a door's place, and the place of the answer there.
extension Ticket {
    /// A place among a connection's replies.
    init(slot: Int, number: UInt32) { self.init(rawValue: UInt64(slot) << 32 | UInt64(number)) }

    var slot: Int { Int(rawValue >> 32) }
    fileprivate var number: UInt32 { UInt32(truncatingIfNeeded: rawValue) }
}

extension LimiterHost {
    /// What happened to documents since the start, for operators.
    struct DocumentHistory {
        private(set) var reloads = 0
        private(set) var rejections = 0
        /// Why the newest were rejected; empty if they are in force.
        private(set) var lastRejection = ""

        mutating func reloaded() {
            reloads += 1
            lastRejection = ""
        }

        mutating func rejected(_ reason: String) {
            rejections += 1
            lastRejection = reason
        }
    }

    /// What happened to the socket's file since the start, for operators.
    struct SocketHistory {
        /// How often it was created again after it had been removed or replaced.
        var remakes = 0
        /// Why clients cannot connect by its path; empty if they can.
        var trouble = ""
    }
}

-- What all algorithms share: arithmetic, the usage of the current entry's charges, and plain counters. `prelude.lua`,
-- `checks.lua` and `usage.lua` come before it; after it come the algorithms, each a file of its own, and `decide.lua`, whose
-- head describes KEYS, ARGV and the values under the keys.
--
-- A charge is a table: max, lengthMs, endMs, extra (what else the algorithm needs); for windows countsUntilMs; isShadow,
-- countsCalls (a check takes 1, whatever its cost), isUneven (its windows differ in length), verifies; key and denialsKey, counted from the first key of its entry;
-- number and algorithm, see below.
--
-- `ALGORITHMS[n]` makes the table of an algorithm, which a batch does once if it needs it (functions cost time to make):
--
--   keys, usages             how many keys a charge has, and how many numbers report its usage
--   takesSlots               optional: whether a check uses one of its units whatever it costs, and needs a reservation
--   describe(charge)         optional: completes a charge
--   read(charge, i, first, isPeek)
--                            reads the usage into `used[i]`; returns the fault, if any. `first` is the entry's first key
--   room(charge, i)          how much more may be used
--   apply(charge, i, key, amount, reservation)
--                            charges an amount of cost, 1 or more
--   refund(charge, i, key, amount, first)
--                            gives back up to an amount of cost; not for what takes slots
--   clearBefore(charge, i, first)
--                            optional: gives back what counts beside the counter's own key
--   raise(charge, i, key, to)
--                            optional: raises a counter to a usage; else it is charged with what is missing
--   retain(charge, i, first) keeps keys that were read without a charge while they count: one that lost its time to live
--                            gets one again
--   usage(charge, i, list, cost)
--                            lists the numbers that report the usage
--   record(charge, i, entry) adds to a record's entry, {n, key}, what `settle` needs; returns until when it counts
--   recorded                 how many values such an entry has then; all but the key are counts
--   holds(entry, more)       whether the counter can count so much more
--   settle(entry, difference, chargedMs)
--                            changes what was charged by a difference of cost, while it counts; more than that is
--                            charged now if it no longer counts

local max, min = math.max, math.min
local DENIALS_TTL_MS = 86400000 -- for algorithms without windows

-- For each charge of the current entry: the usage found, and how much of it the checks took.
local used, denials, taken = {}, {}, {}
local ALGORITHMS, made = {}, {}

-- The table of an algorithm; nil if there is none of that number.
local function algorithmOf(number)
    local algorithm = made[number]
    if not algorithm and ALGORITHMS[number] then
        algorithm = ALGORITHMS[number]()
        made[number] = algorithm
    end
    return algorithm
end

-- Rounded down. The quotient itself may be rounded up to a whole number when the dividend is near 2^53.
local function divide(dividend, divisor)
    return (dividend - fmod(dividend, divisor)) / divisor
end

local function divideUp(dividend, divisor)
    local rest = fmod(dividend, divisor)
    return (dividend - rest) / divisor + (rest > 0 and 1 or 0)
end

-- How much more cost can be counted.
local function spare(charge, i)
    local left = MAX_EXACT - 1 - used[i]
    return charge.number == 2 and divide(left, charge.lengthMs) or left
end

-- Adds to a usage that is known to be an integer, and sets its time to live if it is new or has none.
local function add(key, amount, verifies, expiresAtMs)
    local isNew = false
    local usage
    if amount > 0 then
        usage = call('INCRBY', key, format('%.0f', amount))
        isNew = usage == amount
    end
    if isNew or (verifies and call('PTTL', key) == -1) then
        call('PEXPIREAT', key, expiresAtMs)
    end
end

-- Gives a key that lost its time to live one again.
local function keepMortal(key, untilMs)
    if call('PTTL', key) == -1 then
        call('PEXPIREAT', key, untilMs + EXPIRY_SLACK_MS)
    end
end

-- Settlements --------------------------------------------------------------------------------------------------------

-- Owners of the counters that this batch lowered, or raised where capacity returns gradually: the beginnings of their
-- keys. And the keys of those that it cleared, and of changed overrides.
local lowerings = {}

-- In a cluster the owner follows the partition's tag, which the marker has, too.
local OWNER = find(KEYS[1], '{', 1, true) and '^[^}]*}:[^:]*' or '^[^}]*}'

local function lowered(key)
    local owner = match(key, OWNER)
    if owner and not lowerings[owner] then
        lowerings[owner] = true
        lowerings[#lowerings + 1] = owner
    end
end

-- The fault of a counter that this settlement should have changed, if any.
local skippedFault

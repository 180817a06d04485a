-- Charges one batch of plain checks of fixed windows. Entries run in order; each check is charged to all of its
-- counters or to none, and a fault of one entry does not affect the others. `prelude.lua` comes before it and describes
-- KEYS[1], ARGV and the head of the answer. What follows it, `usage.lua` and `charge_rest.lua`, is reached only from the
-- first entry on that is not simply admitted.
--
-- KEYS[2..]  the counters of entry 1, then those of entry 2, and so on; each counts one window of one limit
--
-- ARGV[1]    [10] runs: where in this list they begin, from 1
--            [11..] shapes, what entries have in common: cost, count (0: peek, charges nothing), cost * count as text,
--            how many counters, then for each counter: its window's start and end (exclusive), ms since the epoch; max,
--            below 2^53; verify (1: check whether the key still has a time to live)
--            then the runs, neighbours of one shape: pairs of where the shape begins in this list, and the run's length
--
-- Returns    the KEYS table with its elements replaced: Redis made that table, a new one would have to grow. KEYS[1]
--            becomes this store's clock, ms, if the batch before this one in sequence was the last that ran; else the
--            head, a table. An entry's first key becomes: its usage, if all of its checks were admitted (a
--            peek: if it would be); {number admitted, usage} if not all were; false: a window does not hold now; or a
--            string: the fault of a counter. Its other keys become their usages, or false where it was not decided.
--            Usages are as the entry left them.
--
-- With hundreds of entries in a batch the interpreter's own work is a third of what a batch costs. So what a run has in
-- common is looked up once, and the loop over its entries uses little but locals.

local type, size = type, #batch

-- The run and the first key of the entry that is next, the first key behind the run, the entry's usages so far (from
-- 0), how many counters they are, and what `INCRBY` of the next one gave if it is not simply admitted.
local run, first, last, usages, counted, usage = batch[10], 2, 2, nil, 0, nil
local isSimple = true

KEYS[1] = previous == sequence - 1 and timeMs or {1, timeMs, previous}

while run < size and isSimple do
    local shape = batch[run]
    local wanted, wantedText, counters = batch[shape] * batch[shape + 1], batch[shape + 2], batch[shape + 3]
    last = first + batch[run + 1] * counters
    isSimple = wanted > 0
    for at = shape + 4, shape + 4 * counters, 4 do
        if now < batch[at] or now >= batch[at + 1] then
            isSimple = false
        end
    end
    if isSimple and counters == 1 then
        -- The usual case. It adds first: one command for each entry that is admitted.
        local untilMs, maximum, verifies = batch[shape + 5] + EXPIRY_SLACK_MS, batch[shape + 6], batch[shape + 7] == 1
        while first < last do
            local key = KEYS[first]
            usage = try('INCRBY', key, wantedText)
            if type(usage) == 'table' or usage > maximum or usage < wanted then
                isSimple = false
                break
            end
            if usage == wanted or verifies and call('PTTL', key) == -1 then
                call('PEXPIREAT', key, untilMs)
            end
            KEYS[first] = usage
            first = first + 1
        end
    elseif isSimple then
        usages = usages or {}
        while first < last do
            local at = shape + 4
            counted = 0
            while counted < counters do
                local key = KEYS[first + counted]
                usage = try('INCRBY', key, wantedText)
                if type(usage) == 'table' or usage > batch[at + 2] or usage < wanted then
                    isSimple = false
                    break
                end
                if usage == wanted or batch[at + 3] == 1 and call('PTTL', key) == -1 then
                    call('PEXPIREAT', key, batch[at + 1] + EXPIRY_SLACK_MS)
                end
                usages[counted] = usage
                counted, at = counted + 1, at + 4
            end
            if not isSimple then
                break
            end
            for i = 0, counters - 1 do
                KEYS[first + i] = usages[i]
            end
            first = first + counters
        end
    end
    if isSimple then
        run, counted, usage = run + 2, 0, nil
    end
end
if isSimple then
    return KEYS
end

-- How a usage is read: for `counters.lua`, and for `charge_rest.lua`. `prelude.lua` comes before it.

local MAX_EXACT_TEXT = '9007199254740992'
local NOT_A_COUNT = 'ERR value is not an integer or out of range'

-- The number that the digits denote, if it is at most 2^53: in Lua 2^53 + 1 equals 2^53.
local function toCount(digits)
    local number = tonumber(digits)
    return number and (number < MAX_EXACT or digits == MAX_EXACT_TEXT) and number or nil
end

-- The usage stored under a key and whether the key exists; or nil and the fault. Valid are the integers from 0 to 2^53
-- that `INCRBY` accepts: no script writes anything else.
local function readCounter(key)
    local value = try('GET', key)
    if not value then
        return 0, false
    end
    if type(value) == 'table' then
        return nil, value.err
    end
    local number = (value == '0' or string.find(value, '^[1-9]%d*$')) and toCount(value)
    if not number then
        return nil, NOT_A_COUNT
    end
    return number, true
end

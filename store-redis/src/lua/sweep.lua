-- ARGV: epoch, how long a replica may be silent. Returns which are lost.
local epoch = call('HGET', ledger, 'epoch')
if epoch ~= ARGV[1] then return { 'fenced', epoch } end
local since = now() - ARGV[2]
local known, lost = {}, { 'lost' }
local function look(replica)
    if known[replica] then return end
    known[replica] = true
    local said = call('ZSCORE', beaten, replica)
    if not said or tonumber(said) < since then lost[#lost + 1] = replica end
end
-- Each replica that has anything in a set of replicas and letters, from one to the next.
local function look_through(set)
    local from = '-'
    while true do
        local name = call('ZRANGEBYLEX', set, from, '+', 'LIMIT', 0, 1)[1]
        if not name then return end
        look(name:sub(1, 16))
        from = '(' .. name:sub(1, 16) .. '~'
    end
end
for _, replica in ipairs(call('ZRANGE', beaten, 0, -1)) do look(replica) end
look_through(of)
look_through(answered)
for i = 2, #lost do
    local replica = lost[i]
    local first, last = '[' .. replica, '[' .. replica .. '~'
    call('HDEL', beats, replica)
    call('ZREM', beaten, replica)
    for _, name in ipairs(call('ZRANGEBYLEX', of, first, last)) do take(text(name:sub(17))) end
    for _, name in ipairs(call('ZRANGEBYLEX', answered, first, last)) do call('HDEL', answers, name) end
    call('ZREMRANGEBYLEX', answered, first, last)
end
return lost

-- ARGV: replica, name, time to live, where the phase is and for how long it has gone on (or two empty texts), the epoch that
-- is renewed (or an empty text).
local h = call('HMGET', ledger, 'epoch', 'replica', 'name', 'until')
local time = now()
if h[2] and h[2] ~= ARGV[1] and tonumber(h[4]) > time then
    return { 'by', h[2], h[3], h[1], text(h[4] - time) }
end
if ARGV[6] ~= '' and (h[2] ~= ARGV[1] or h[1] ~= ARGV[6]) then return { 'fenced', h[1] } end
local epoch = h[1]
if h[2] ~= ARGV[1] then epoch = text(epoch + 1) end
call('HSET', ledger, 'epoch', epoch, 'replica', ARGV[1], 'name', ARGV[2], 'until', text(time + ARGV[3]))
if ARGV[4] ~= '' then call('HSET', ledger, 'elapsed_at', ARGV[4], 'elapsed', ARGV[5], 'elapsed_said', text(time)) end
if epoch ~= h[1] then tell() end
return { 'held', epoch }

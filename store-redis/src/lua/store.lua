-- KEYS: the slices under a name for the time being, and under the part's. ARGV: the part's name, its hash and length, how many
-- slices. Returns what is known of a part that was there before, or how many slices are missing.
local there = call('HGET', parts, ARGV[1])
if there then
    call('UNLINK', KEYS[13])
    return there
end
local missing = ARGV[3] - call('HLEN', KEYS[13])
if missing ~= 0 then return missing end
call('RENAME', KEYS[13], KEYS[14])
call('PERSIST', KEYS[14])
call('HSET', parts, ARGV[1], ARGV[2] .. padded(now()))
return 0

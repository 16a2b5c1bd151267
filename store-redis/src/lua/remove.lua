-- KEYS: the slices of parts. ARGV: the names of these.
for i = 1, #ARGV do
    call('HDEL', parts, ARGV[i])
    call('UNLINK', KEYS[12 + i])
end
return 1

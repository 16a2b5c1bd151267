-- ARGV: whose, the letters.
for i = 2, #ARGV do
    local name = ARGV[1] .. padded(ARGV[i])
    call('HDEL', answers, name)
    call('ZREM', answered, name)
end
return 1

import Glibc

exit(await LoadProgram.run(arguments: Array(CommandLine.arguments.dropFirst())))

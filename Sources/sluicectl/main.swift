import Glibc
import SluiceControl

exit(await ControlProgram.run(Array(CommandLine.arguments.dropFirst())))

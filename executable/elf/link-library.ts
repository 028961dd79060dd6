import { assemble } from './assemble.ts';
import { ElfImage, Tag } from './image.ts';
import { LinkedMemory } from './linked-memory.ts';
import { machineOf, roundUp } from './machine.ts';
import { relocateLibrary, relocateProgram } from './relocate.ts';
import { Scope } from './scope.ts';
import { joinThreadLocals } from './thread-local.ts';

const TYPE_EXECUTABLE = 2;

/**
 * Puts a shared library into a program that needs it, as if it had been linked statically: the
 * loader finds one file, in which all that concerns only the two is settled.
 *
 * Program and library keep their code and data as they are. The library gets addresses behind the
 * program's. The tables for the loader are made anew: without the symbols that the program offers
 * to plug-ins they are so much smaller that the library finds room in their place, and the file
 * does not grow.
 *
 * @param programFile an executable for fixed addresses, with section headers; they are left out of
 *   the result
 * @param libraryFile the library
 * @returns the file of the new program
 * @throws {Error} either has something that is not supported, or the library lacks something
 *   that the program needs
 */
export function linkLibrary(programFile: Buffer, libraryFile: Buffer): Buffer {
  const program = new ElfImage(programFile);
  const library = new ElfImage(libraryFile);
  if (programFile.readUInt16LE(16) !== TYPE_EXECUTABLE) throw new Error('the program is not one for fixed addresses');
  if (program.machine !== library.machine) throw new Error('program and library are for different processors');
  const machine = machineOf(program.machine);
  const base = roundUp(program.endInMemory, machine.pageSizeBytes);
  const threadLocals = joinThreadLocals(program, library, machine);
  const parts = { program, library, base, machine, threadLocals, scope: new Scope(program, library, base) };
  const [soname = ''] = library.texts(Tag.soname);
  const memory = new LinkedMemory(program, library, base);
  const relocations = relocateProgram(parts, memory, soname, relocateLibrary(parts, memory));
  return assemble(parts, memory, soname, relocations);
}

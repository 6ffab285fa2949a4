using System.Buffers.Binary;
using System.Text;

namespace MLNetMultimodal.Training.Native;

/// <summary>The symbol versions that an ELF64 shared library asks of others (section .gnu.version_r).</summary>
/// <remarks>Every offset is checked: the library may be cut off or made to hurt.</remarks>
static class ElfVersions
{
    const uint Rela = 4, VersionSymbols = 0x6fffffff, VersionNeeds = 0x6ffffffe;
    const ushort WeakFlag = 2; // VER_FLG_WEAK: the loader goes on where the version is missing
    const int HeaderBytes = 64, SectionBytes = 64, RelaBytes = 24, NeedBytes = 16;

    readonly record struct Section(uint Type, int Offset, int Size, uint Link, uint Info);

    /// <summary>Marks a version that the library asks for as weak, in place.</summary>
    /// <param name="elf">The whole file; changed in two bytes per entry found.</param>
    /// <param name="version">For example <c>GLIBCXX_3.4.32</c>.</param>
    /// <returns>False where the library does not ask for the version; then nothing is changed.</returns>
    /// <exception cref="InvalidDataException">Not a sound little-endian ELF64 library, or a relocation uses a symbol of that
    /// version: then it is needed in earnest.</exception>
    public static bool Weaken(Span<byte> elf, string version)
    {
        Section[] sections = ReadSections(elf);
        bool found = false;
        foreach (Section needs in sections.Where(s => s.Type == VersionNeeds).ToArray())
        {
            if (needs.Link >= sections.Length) throw Unsound($"the version section names the text section {needs.Link} of {sections.Length}");
            foreach (var (flagsAt, index) in Find(elf, needs, sections[needs.Link], version))
            {
                CheckUnused(elf, sections, index, version);
                Span<byte> flags = Take(elf, flagsAt, sizeof(ushort));
                BinaryPrimitives.WriteUInt16LittleEndian(flags, (ushort)(BinaryPrimitives.ReadUInt16LittleEndian(flags) | WeakFlag));
                found = true;
            }
        }
        return found;
    }

    static Section[] ReadSections(ReadOnlySpan<byte> elf)
    {
        if (elf.Length < HeaderBytes || !elf.StartsWith("\u007fELF"u8)) throw Unsound("it does not begin with an ELF header");
        if (elf[4] != 2 || elf[5] != 1) throw Unsound("it is not 64-bit and little-endian");
        ulong table = BinaryPrimitives.ReadUInt64LittleEndian(elf[40..]);
        int entryBytes = UInt16(elf, 58), count = UInt16(elf, 60);
        if (entryBytes != SectionBytes) throw Unsound($"its section entries have {entryBytes} bytes instead of {SectionBytes}");
        if (table > (ulong)elf.Length || (ulong)count * SectionBytes > (ulong)elf.Length - table)
            throw Unsound($"its {count} sections at {table} do not fit into {elf.Length} bytes");
        var sections = new Section[count];
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> entry = elf.Slice((int)table + i * SectionBytes, SectionBytes);
            uint type = UInt32(entry, 4);
            if (type is not (Rela or VersionSymbols or VersionNeeds) && type != 3) continue; // 3: texts
            ulong offset = BinaryPrimitives.ReadUInt64LittleEndian(entry[24..]), size = BinaryPrimitives.ReadUInt64LittleEndian(entry[32..]);
            if (offset > (ulong)elf.Length || size > (ulong)elf.Length - offset) throw Unsound($"section {i} reaches past its end");
            sections[i] = new(type, (int)offset, (int)size, UInt32(entry, 40), UInt32(entry, 44));
        }
        return sections;
    }

    static List<(int FlagsAt, int Index)> Find(ReadOnlySpan<byte> elf, Section needs, Section texts, string version)
    {
        var found = new List<(int, int)>();
        ReadOnlySpan<byte> section = Take(elf, needs.Offset, needs.Size), names = Take(elf, texts.Offset, texts.Size);
        byte[] wanted = [.. Encoding.ASCII.GetBytes(version), 0];
        long file = 0;
        for (uint i = 0; i < needs.Info; i++)
        {
            ReadOnlySpan<byte> need = Take(section, file, NeedBytes);
            int entries = UInt16(need, 2);
            long at = file + UInt32(need, 8);
            for (int k = 0; k < entries; k++)
            {
                ReadOnlySpan<byte> entry = Take(section, at, NeedBytes);
                uint name = UInt32(entry, 8), next = UInt32(entry, 12);
                if (name >= names.Length) throw Unsound("the name of a version lies outside of its texts");
                if (names[(int)name..].StartsWith(wanted)) found.Add((needs.Offset + (int)at + 4, UInt16(entry, 6) & 0x7fff));
                if (next == 0) break;
                at += next;
            }
            uint step = UInt32(need, 12);
            if (step == 0) break;
            file += step;
        }
        return found;
    }

    static void CheckUnused(ReadOnlySpan<byte> elf, Section[] sections, int index, string version)
    {
        Section versions = sections.FirstOrDefault(s => s.Type == VersionSymbols);
        ReadOnlySpan<byte> ofSymbol = Take(elf, versions.Offset, versions.Size);
        foreach (Section relocations in sections.Where(s => s.Type == Rela))
        {
            ReadOnlySpan<byte> entries = Take(elf, relocations.Offset, relocations.Size / RelaBytes * RelaBytes);
            for (; entries.Length > 0; entries = entries[RelaBytes..])
            {
                uint symbol = UInt32(entries, 12);
                if ((UInt16(Take(ofSymbol, symbol * 2L, 2), 0) & 0x7fff) == index)
                    throw Unsound($"symbol {symbol} of version {version} is really used, so the version cannot be left out");
            }
        }
    }

    static ReadOnlySpan<byte> Take(ReadOnlySpan<byte> bytes, long offset, int count) =>
        offset <= bytes.Length - count ? bytes.Slice((int)offset, count) : throw Unsound("an entry reaches past its section");

    static Span<byte> Take(Span<byte> bytes, long offset, int count) =>
        offset <= bytes.Length - count ? bytes.Slice((int)offset, count) : throw Unsound("an entry reaches past its section");

    static ushort UInt16(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    static uint UInt32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);

    static InvalidDataException Unsound(string why) => new($"the library cannot be adapted to this system: {why}.");
}

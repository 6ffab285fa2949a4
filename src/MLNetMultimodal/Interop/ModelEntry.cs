extern alias mlstub;

using System.Runtime.CompilerServices;
using System.Text.Json;
using Microsoft.ML;
using LoadContext = mlstub::Microsoft.ML.ModelLoadContext;
using SaveContext = mlstub::Microsoft.ML.ModelSaveContext;
using VersionInfo = mlstub::Microsoft.ML.VersionInfo;

[assembly: IgnoresAccessChecksTo("Microsoft.ML.Core")]

namespace MLNetMultimodal.Interop;

/// <summary>A transformer's place in an ML.NET zip: a header and named streams.</summary>
/// <param name="Signature">Exactly 8 ASCII characters at the head of the entry.</param>
/// <param name="Loader">The name that a <c>LoadableClass</c> attribute registers, at most 24 ASCII characters.</param>
sealed record ModelEntry(string Signature, string Loader)
{
    const uint Version = 0x00010001;

    VersionInfo Info => new(Signature, Version, Version, Version, typeof(ModelEntry).Assembly.FullName!, Loader);

    /// <summary>Writes an entry.</summary>
    /// <param name="context">What <see cref="ICanSaveModel.Save"/> was given.</param>
    /// <param name="options">Small content, kept as JSON.</param>
    /// <param name="streams">Large content, each a file of its own in the zip.</param>
    public void Save<TOptions>(ModelSaveContext context, TOptions options,
        params IEnumerable<(string Name, Action<Stream> Write)> streams)
    {
        ArgumentNullException.ThrowIfNull(context);
        SaveContext open = Unsafe.As<SaveContext>((object)context);
        open.CheckAtModel();
        open.SetVersionInfo(Info);
        open.Writer.Write(JsonSerializer.Serialize(options));
        foreach (var (name, write) in streams)
            open.SaveBinaryStream(name, writer =>
            {
                writer.Flush();
                write(writer.BaseStream);
            });
    }

    /// <summary>Opens an entry.</summary>
    /// <param name="context">The <c>ModelLoadContext</c> that a <c>Create</c> method was given.</param>
    /// <returns>Reads the options, then the streams by name.</returns>
    public Reader Open(object context)
    {
        LoadContext open = Unsafe.As<LoadContext>(context);
        open.CheckAtModel(Info);
        return new(open, Loader);
    }

    /// <summary>An entry that is being read.</summary>
    public readonly struct Reader
    {
        readonly LoadContext _context;
        readonly string _loader;

        internal Reader(LoadContext context, string loader) => (_context, _loader) = (context, loader);

        /// <summary>What is made of the options.</summary>
        /// <exception cref="InvalidDataException">They are not sound.</exception>
        public T Options<TOptions, T>(Func<TOptions, T> make)
        {
            try
            {
                return make(JsonSerializer.Deserialize<TOptions>(_context.Reader.ReadString()) ?? throw new JsonException("it is null."));
            }
            catch (Exception e) when (e is JsonException or ArgumentException or FormatException)
            {
                throw new InvalidDataException($"the options of {_loader} in the model cannot be read: {e.Message}", e);
            }
        }

        /// <exception cref="InvalidDataException">The zip has no such stream.</exception>
        public void Stream(string name, Action<Stream> read)
        {
            if (!_context.TryLoadBinaryStream(name, reader => read(reader.BaseStream)))
                throw new InvalidDataException($"the model has no entry '{name}'; was the zip cut off or changed?");
        }
    }
}

using System.Text;
using Microsoft.ML.Tokenizers;

namespace MLNetMultimodal.Media.Text;

// SentencePiece (Kudo and Richardson 2018, arXiv:1808.06226), BPE or unigram, from its own file.
sealed class SentencePieceModel : ITokenModel
{
    const string AsciiPunctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

    // XLM-R numbers its first four tokens as fairseq does, and all others one higher than the file.
    static readonly string[] FairseqTokens = ["<s>", "<pad>", "</s>", "<unk>"];

    readonly SentencePieceTokenizer _pieces;
    readonly TokenizerDefinition _definition;
    readonly AddedTokens _added;

    public SentencePieceModel(TokenizerDefinition definition, ReadOnlyMemory<byte> file)
    {
        _definition = definition;
        _pieces = Read(file);
        foreach (var (token, id) in _pieces.Vocabulary)
            definition.Vocabulary[token] = IdOf(id);
        if (definition.IsFairseq)
            for (int id = 0; id < FairseqTokens.Length; id++)
                definition.Vocabulary[FairseqTokens[id]] = id;
        _added = new(definition);
    }

    // The library throws whatever a file that is no model makes it run into.
    static SentencePieceTokenizer Read(ReadOnlyMemory<byte> file)
    {
        using var stream = new MemoryStream(file.ToArray());
        try
        {
            return SentencePieceTokenizer.Create(stream, addBeginningOfSentence: false, addEndOfSentence: false);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw new FormatException($"it is no SentencePiece model: {e.Message}", e);
        }
    }

    public IReadOnlyList<int> Encode(string text, int max) => _added.Encode(text, max, (part, _, _) =>
    {
        string prepared = _definition.Lowercases ? part.ToLowerInvariant() : part;
        if (_definition.RemovesPunctuation)
            prepared = Canonical(prepared);
        var ids = new List<int>();
        if (prepared.Length > 0)
            foreach (int id in _pieces.EncodeToIds(prepared))
                if (id != _pieces.UnknownId || ids.Count == 0 || ids[^1] != IdOf(id)) // a run of unknown characters is one token
                    ids.Add(IdOf(id));
        return ids;
    });

    public string Decode(IReadOnlyList<string> tokens) => string.Concat(tokens).Replace('\u2581', ' ').TrimStart(' ');

    int IdOf(int id) => !_definition.IsFairseq ? id : id == _pieces.UnknownId ? Array.IndexOf(FairseqTokens, "<unk>") : id + 1;

    // SigLIP's texts have no ASCII punctuation and single spaces.
    static string Canonical(string text)
    {
        var result = new StringBuilder(text.Length);
        foreach (char c in text)
            if (!AsciiPunctuation.Contains(c))
            {
                if (!char.IsWhiteSpace(c))
                    result.Append(c);
                else if (result.Length > 0 && result[^1] != ' ')
                    result.Append(' ');
            }
        return result.ToString().TrimEnd(' ');
    }
}

using System.CommandLine;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>tokenize</c>: texts to token ids. The folder needs no weights.</summary>
static class TokenizeCommand
{
    sealed record Row(string Text, IReadOnlyList<int> InputIds);

    public static Command Create()
    {
        Option<string> model = ToolOptions.Model(), format = ToolOptions.Format(ResultWriter.Json, ResultWriter.Table);
        Option<string[]> texts = ToolOptions.Texts();
        texts.Required = true;
        var command = new Command("tokenize", "Turn texts into token ids.") { model, texts, format };
        command.SetAction(parsed =>
        {
            ModelFiles files = ModelFiles.FromFolder(parsed.GetRequiredValue(model));
            TextTokenizer tokenizer = TextTokenizer.Load(files.TryRead, files.Name);
            Row[] rows = [.. parsed.GetRequiredValue(texts).Select(text => new Row(text, tokenizer.Encode(text)))];
            ResultWriter.Write(parsed.GetValue(format), rows, ["text", "ids"], r => [r.Text, string.Join(' ', r.InputIds)]);
            return ExitCode.Done;
        });
        return command;
    }
}
